//! `campanile health`: asks a server whether it is well, for containers that have no other client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

/// Where the admin listener is when nobody says otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:9090/healthz";
/// Longest answer that is read, bytes; its first line is all that counts.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// What to ask: `http://ADDRESS:PORT/PATH`
    #[arg(default_value = DEFAULT_URL)]
    url: String,
    /// Longest time to wait, seconds
    #[arg(short, long, value_name = "S", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
}

/// Exits 0 if the answer is 200, else 1 with the reason on stderr.
pub(crate) fn run(args: &HealthArgs) -> ExitCode {
    match ask(&args.url, Duration::from_secs(args.timeout)) {
        Ok(()) => super::print("ok\n"),
        Err(reason) => {
            eprintln!("{}: {reason}", args.url);
            ExitCode::FAILURE
        }
    }
}

fn ask(url: &str, timeout: Duration) -> Result<(), String> {
    let (authority, path) = split(url).ok_or("expected http://ADDRESS:PORT/PATH")?;
    let address: SocketAddr = authority
        .parse()
        .map_err(|_| format!("expected an address such as 127.0.0.1:9090, found {authority:?}"))?;
    let text = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&address, timeout).map_err(text)?;
    stream.set_read_timeout(Some(timeout)).map_err(text)?;
    stream.set_write_timeout(Some(timeout)).map_err(text)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(text)?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut answer)
        .map_err(text)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.lines().next().unwrap_or_default();
    match status.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(format!("answered {status:?}")),
    }
}

/// Authority and path of an `http://` URL.
fn split(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("http://")?;
    let is_plain = rest.chars().all(|c| c.is_ascii_graphic());
    let slash = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(slash);
    let path = if path.is_empty() { "/" } else { path };
    (is_plain && !authority.is_empty()).then_some((authority, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_split_and_nothing_else_gets_into_the_request() {
        assert_eq!(split(DEFAULT_URL), Some(("127.0.0.1:9090", "/healthz")));
        assert_eq!(split("http://[::1]:1"), Some(("[::1]:1", "/")));
        for wrong in ["https://x/", "http://", "http://x/ y", "http://x/\r\nA: b"] {
            assert_eq!(split(wrong), None, "{wrong}");
        }
    }
}
