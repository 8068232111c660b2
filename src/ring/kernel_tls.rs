//! Whether the kernel could make TLS records itself (`CONFIG_TLS`, 4.13).

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

/// The protocol above TCP that TLS in the kernel is named as.
const ULP: [u8; 3] = *b"tls";

/// Asks the kernel for TLS on a connected socket, as one must be: the module is loaded if there is one.
///
/// Errors: of the socket calls; that there is no such protocol is not one.
pub fn has_kernel_tls() -> io::Result<bool> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let socket = TcpStream::connect(listener.local_addr()?)?;
    let length = libc::socklen_t::try_from(ULP.len()).expect("three");
    // SAFETY: the pointer is to `ULP`, which lives for ever, and the length is its own.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_ULP,
            ULP.as_ptr().cast(),
            length,
        )
    };
    if result == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // No such module; or one may not be loaded here.
        Some(libc::ENOENT | libc::EPERM | libc::ENOPROTOOPT | libc::EOPNOTSUPP) => Ok(false),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_grants_is_on_its_list() {
        let listed = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_ulp");
        let is_granted = has_kernel_tls().unwrap();
        // Read before it was asked for, the list need not have it yet; the other way round it must.
        let is_listed = listed.is_ok_and(|list| list.split_whitespace().any(|ulp| ulp == "tls"));
        assert!(is_granted || !is_listed);
    }
}
