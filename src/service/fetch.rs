//! The HTTP client of the service thread: key sets and sessions come from other servers.

use std::error::Error;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Client, ClientBuilder, Response};

use crate::auth::{Authenticator, FETCHED_BODY_BYTES_MAX, Fetch, FetchError, Fetched};
use crate::time::Clock;

/// Most redirects that are followed.
const REDIRECTS_MAX: usize = 3;
/// Longest that a connection and its TLS handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Idle connections to one server that are kept for the next question.
const IDLE_PER_HOST_MAX: usize = 16;
/// Shortest time between two fetches of a key set that no token asked for.
const REFRESH_MIN: Duration = Duration::from_secs(10);

/// A client for HTTP and HTTPS, with TLS by rustls and the system's roots.
///
/// At most three redirects are followed, none from `https` to `http`, and cookies stay with the host
/// that they were for. Proxies that the environment names are not used.
#[derive(Clone, Debug)]
pub struct HttpFetch(Arc<OnceLock<Client>>);

/// No client could be made: mostly since the system has no roots of trust.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no HTTP client: {0}; it takes the system's roots of trust (Debian: apt-get install ca-certificates)"
)]
pub struct NoHttpClient(String);

impl HttpFetch {
    /// A client. Its connections belong to the runtime that polls its futures.
    ///
    /// Errors: TLS cannot be set up.
    pub fn new() -> Result<Self, NoHttpClient> {
        let fetch = Self::at_need();
        fetch.client()?;
        Ok(fetch)
    }

    /// One whose client is made when something is fetched for the first time: for whoever may never fetch
    /// anything, on systems where no client can be made. What is fetched fails there.
    #[must_use]
    pub fn at_need() -> Self {
        Self(Arc::default())
    }

    fn client(&self) -> Result<&Client, NoHttpClient> {
        if let Some(client) = self.0.get() {
            return Ok(client);
        }
        let made = builder().build();
        let made = made.map_err(|error| NoHttpClient(with_causes(&error)))?;
        Ok(self.0.get_or_init(|| made))
    }
}

fn builder() -> ClientBuilder {
    Client::builder()
        .redirect(Policy::custom(follow))
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .no_proxy()
        .referer(false)
        .user_agent(concat!("campanile/", env!("CARGO_PKG_VERSION")))
}

fn follow(attempt: Attempt<'_>) -> Action {
    let was_secure = attempt.previous().iter().any(|url| url.scheme() == "https");
    if was_secure && attempt.url().scheme() != "https" {
        return attempt.error("redirected from https to another scheme");
    }
    match attempt.previous().len() > REDIRECTS_MAX {
        true => attempt.error("too many redirects"),
        false => attempt.follow(),
    }
}

impl Fetch for HttpFetch {
    fn get(
        &self,
        url: &str,
        headers: Vec<(&'static str, String)>,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Fetched, FetchError>> {
        let client = match self.client() {
            Ok(client) => client,
            Err(error) => return future::ready(Err(FetchError::Failed(error.to_string()))).boxed(),
        };
        let mut request = client.get(url).timeout(timeout);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        async move {
            let response = request.send().await.map_err(failed)?;
            let status = response.status().as_u16();
            let body = body(response).await?;
            Ok(Fetched { status, body })
        }
        .boxed()
    }
}

/// The whole body. Errors: it is too large, or does not come.
async fn body(mut response: Response) -> Result<Vec<u8>, FetchError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > FETCHED_BODY_BYTES_MAX {
            return Err(FetchError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What went wrong, with its causes and without the URL, whose query may hold a secret.
fn failed(error: reqwest::Error) -> FetchError {
    if error.is_timeout() {
        return FetchError::Timeout;
    }
    FetchError::Failed(with_causes(&error.without_url()))
}

fn with_causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Fetches the key set of an authenticator at once, and again at the interval of its options, for
/// ever. For the runtime of the service thread.
pub async fn keep_keys_fresh(auth: Authenticator) {
    let clock = Clock::start();
    loop {
        auth.refresh_keys(clock.now().unix_ms / 1000).await;
        let interval = auth.options().token.jwks_refresh;
        tokio::time::sleep(interval.max(REFRESH_MIN)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    /// Serves connections one after the other, each with what `answer` makes of the request head.
    async fn serve(answer: impl Fn(&str) -> String + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let head = head(&mut socket).await;
                let _ = socket.write_all(answer(&head).as_bytes()).await;
            }
        });
        format!("http://{address}")
    }

    async fn head(socket: &mut TcpStream) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            match socket.read_u8().await {
                Ok(byte) => bytes.push(byte),
                Err(_) => break,
            }
        }
        String::from_utf8(bytes).unwrap()
    }

    fn ok(body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
    }

    fn moved(to: &str) -> String {
        format!(
            "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
    }

    async fn get(url: &str) -> Result<Fetched, FetchError> {
        let fetch = HttpFetch::new().unwrap();
        let cookie = vec![("cookie", "a=b".to_owned())];
        fetch.get(url, cookie, TIMEOUT).await
    }

    #[tokio::test]
    async fn fields_are_sent_and_status_and_body_come_back() {
        let url = serve(|head| match head.contains("cookie: a=b\r\n") {
            true => ok("yes"),
            false => ok("no"),
        });
        let fetched = get(&url.await).await.unwrap();
        assert_eq!((fetched.status, &fetched.body[..]), (200, &b"yes"[..]));
        let url = serve(|_| "HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n".into()).await;
        assert_eq!(get(&url).await.unwrap().status, 403);
    }

    #[tokio::test]
    async fn a_body_without_end_is_too_large() {
        let body = "x".repeat(FETCHED_BODY_BYTES_MAX);
        let just = ok(&body);
        let url = serve(move |_| just.clone()).await;
        assert_eq!(get(&url).await.unwrap().body.len(), FETCHED_BODY_BYTES_MAX);
        let url = serve(move |_| format!("HTTP/1.1 200 OK\r\n\r\n{body}x")).await;
        assert_eq!(get(&url).await, Err(FetchError::TooLarge));
    }

    #[tokio::test]
    async fn three_redirects_are_followed_and_no_fourth() {
        let hops = |count: usize| {
            move |head: &str| {
                let hop = head.lines().next().unwrap().matches('x').count();
                match hop < count {
                    true => moved(&format!("/{}", "x".repeat(hop + 1))),
                    false => ok("there"),
                }
            }
        };
        let url = serve(hops(REDIRECTS_MAX)).await;
        assert_eq!(get(&url).await.unwrap().body, b"there");
        let url = serve(hops(REDIRECTS_MAX + 1)).await;
        let error = get(&url).await.unwrap_err();
        assert!(error.to_string().contains("too many redirects"), "{error}");
    }

    #[tokio::test]
    async fn cookies_are_not_sent_to_another_host() {
        let other = serve(|head| {
            ok(if head.contains("cookie") {
                "leak"
            } else {
                "none"
            })
        })
        .await;
        let url = serve(move |_| moved(&other)).await;
        assert_eq!(get(&url).await.unwrap().body, b"none");
    }

    #[tokio::test]
    async fn a_server_that_is_slow_or_away_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/?secret=1", listener.local_addr().unwrap());
        let fetch = HttpFetch::new().unwrap();
        let slow = fetch.get(&url, Vec::new(), Duration::from_millis(20)).await;
        assert_eq!(slow, Err(FetchError::Timeout));
        drop(listener);
        let away = fetch.get(&url, Vec::new(), TIMEOUT).await.unwrap_err();
        assert!(matches!(away, FetchError::Failed(_)));
        assert!(!away.to_string().contains("secret"), "{away}");
    }

    /// Over TLS with a certificate of its own authority: known to `client`, or not.
    async fn get_over_tls(is_known: bool) -> Result<Fetched, FetchError> {
        let own = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(
                vec![own.cert.der().clone()],
                own.signing_key.serialize_der().try_into().unwrap(),
            )
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (socket, _) = listener.accept().await.unwrap();
            if let Ok(mut socket) = acceptor.accept(socket).await {
                let _ = socket.write_all(ok("secret").as_bytes()).await;
                let _ = socket.shutdown().await;
            }
        });
        let mut builder = builder();
        if is_known {
            let root = reqwest::Certificate::from_der(own.cert.der()).unwrap();
            builder = builder.tls_certs_only([root]);
        }
        let fetch = HttpFetch(Arc::new(builder.build().unwrap().into()));
        let url = format!("https://localhost:{port}/");
        fetch.get(&url, Vec::new(), TIMEOUT).await
    }

    #[tokio::test]
    async fn a_certificate_must_be_of_a_known_authority() {
        assert_eq!(get_over_tls(true).await.unwrap().body, b"secret");
        let error = get_over_tls(false).await.unwrap_err();
        assert!(
            error.to_string().to_lowercase().contains("certificate"),
            "{error}"
        );
    }
}
