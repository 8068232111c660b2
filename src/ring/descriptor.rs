//! Descriptors outside any ring: listeners, addresses, limits, and the step from a number to
//! ownership, which is `unsafe` and therefore has its home here.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Takes ownership of a descriptor that a completion or [`super::Ring::release`] gave out as a
/// number, for instance to hand it to tokio.
///
/// The number must be one that the caller owns: it is closed when the result is dropped.
///
/// Panics if the number is negative.
pub fn own(number: RawFd) -> OwnedFd {
    assert!(number >= 0);
    // SAFETY: numbers of connections are made only by `Accepted` and `release`, which hand each one
    // out once and keep no claim to it; inside the process they are passed on by value. A number
    // that is not owned by the caller breaks the contract above, and closes a foreign descriptor,
    // but touches no memory.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// The peer of a connected socket.
///
/// Errors: `ENOTCONN` if the peer is gone already, `EBADF` if the number is no open descriptor.
pub fn peer_address(number: RawFd) -> io::Result<SocketAddr> {
    if number < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: the number is not -1, and the borrow ends before this function returns. Should it not
    // be open, the system call says so.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    SockRef::from(&descriptor.as_fd())
        .peer_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
}

/// A listening TCP socket: `SO_REUSEADDR`, `TCP_NODELAY` (which accepted sockets inherit), blocking
/// as io_uring wants it, close-on-exec.
///
/// `backlog`: connections waiting to be accepted, at most `net.core.somaxconn`. `reuse_port`: several
/// listeners may have the address (`SO_REUSEPORT`), and the kernel spreads connections over them.
/// An IPv6 wildcard address accepts IPv4 too.
///
/// Errors: of `socket(2)`, `setsockopt(2)`, `bind(2)`, `listen(2)`.
pub fn listen(address: SocketAddr, backlog: i32, reuse_port: bool) -> io::Result<OwnedFd> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// The local address of a socket, which tells the port that port 0 became.
///
/// Errors: of `getsockname(2)`.
pub fn local_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    SockRef::from(socket)
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
}

/// The limit of open files of this process (`RLIMIT_NOFILE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// What holds now. Bounds the table of direct descriptors as well.
    pub soft: u64,
    /// How far the process may raise it.
    pub hard: u64,
}

/// Reads `RLIMIT_NOFILE`.
///
/// Errors: of `getrlimit(2)`, which are not to be expected.
pub fn open_files() -> io::Result<OpenFiles> {
    let limit = rlimit(libc::RLIMIT_NOFILE)?;
    Ok(OpenFiles {
        soft: limit.rlim_cur,
        hard: limit.rlim_max,
    })
}

/// Raises the soft `RLIMIT_NOFILE` to the hard one and returns what holds then.
///
/// Errors: of `getrlimit(2)` and `setrlimit(2)`.
pub fn raise_nofile() -> io::Result<OpenFiles> {
    let limit = rlimit(libc::RLIMIT_NOFILE)?;
    let raised = libc::rlimit {
        rlim_cur: limit.rlim_max,
        rlim_max: limit.rlim_max,
    };
    // SAFETY: the pointer is to a live `rlimit`, which the call only reads.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } != 0 {
        return Err(io::Error::last_os_error());
    }
    open_files()
}

pub(super) fn rlimit(resource: libc::__rlimit_resource_t) -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live `rlimit`, which the call writes.
    if unsafe { libc::getrlimit(resource, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit)
}

/// A counter that wakes pollers; writing to it does not block.
pub(super) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    let number = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(own(number))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};
    use std::os::fd::{AsRawFd, IntoRawFd};

    use super::*;

    #[test]
    fn several_listeners_share_a_port_when_asked_to() {
        let first = listen((Ipv4Addr::LOCALHOST, 0).into(), 16, true).unwrap();
        let address = local_address(&first).unwrap();
        let second = listen(address, 16, true).unwrap();
        assert_eq!(local_address(&second).unwrap(), address);
        let third = listen(address, 16, false).unwrap_err();
        assert_eq!(third.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn an_accepted_socket_has_no_delay_and_a_peer() {
        let listener = listen((Ipv6Addr::UNSPECIFIED, 0).into(), 16, false).unwrap();
        let port = local_address(&listener).unwrap().port();
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let (accepted, _) = std::net::TcpListener::from(listener).accept().unwrap();
        assert!(accepted.nodelay().unwrap());
        let peer = peer_address(accepted.as_raw_fd()).unwrap();
        assert_eq!(peer.port(), client.local_addr().unwrap().port());
        let owned = own(accepted.into_raw_fd());
        assert_eq!(local_address(&owned).unwrap().port(), port);
    }

    #[test]
    fn no_descriptor_has_no_peer() {
        assert_eq!(
            peer_address(-1).unwrap_err().raw_os_error(),
            Some(libc::EBADF)
        );
    }

    #[test]
    fn raising_the_limit_of_open_files_reaches_the_hard_limit() {
        let raised = raise_nofile().unwrap();
        assert_eq!(raised.soft, raised.hard);
        assert_eq!(open_files().unwrap(), raised);
    }
}
