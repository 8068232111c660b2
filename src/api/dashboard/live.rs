//! The WebSocket of the page.
//!
//! ```text
//! server  {"type":"hello","version":"0.1.0","authentication":"none"|"token","interval_ms":1000}
//! page    {"type":"authentication","token":"…"}      if asked for, and before anything else is said
//! server  {"type":"snapshot", …}                     one a second, as snapshot.rs has it
//! ```
//!
//! The token comes as a message: a browser cannot set `Authorization` on a WebSocket, an address ends up
//! in logs, and a subprotocol cannot carry every character that a token may have. Who can set the header
//! may, and is refused by 401 before the upgrade if it is wrong.
//!
//! Closes: 4401 wrong token, 4408 none in time, 4429 too many wrong ones, 1013 too many viewers,
//! 1008 a viewer who talks.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, Extension, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::Dashboard;
use super::feed::INTERVAL;
use super::gate::Denied;
use crate::api::error::ApiError;
use crate::auth::AuthError;
use crate::security::{self, Event, Kind};

/// Time to show the token.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time that a snapshot may take to leave. A viewer who takes none for so long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest message of a viewer, bytes: a token in JSON.
const MESSAGE_BYTES_MAX: usize = 4096;

/// How long who has guessed too often is asked to wait, milliseconds.
const DENIED_RETRY_MS: u64 = 60_000;

/// What a page says.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Said {
    Authentication { token: String },
}

/// Why a WebSocket ends: code and reason.
type Farewell = (u16, &'static str);

const UNAUTHORIZED: Farewell = (4401, "wrong token");
const TOO_MANY_WRONG: Farewell = (4429, "too many wrong tokens");
const TOO_LATE: Farewell = (4408, "no token");
const TOO_MANY_VIEWERS: Farewell = (1013, "too many viewers");
const TALKATIVE: Farewell = (1008, "viewers have nothing to say");

/// `GET /admin/live`
pub(super) async fn live(
    State(dashboard): State<Arc<Dashboard>>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let peer = peer.map(|Extension(ConnectInfo(address))| address.ip());
    if !dashboard.gate.is_of_this_site(&headers) {
        report(Kind::Refused, "origin", peer);
        return Err(ApiError::forbidden("not from another site's page"));
    }
    let upgrade = upgrade.map_err(|_| ApiError::from(StatusCode::UPGRADE_REQUIRED))?;
    // Other credentials than a bearer's are wrong ones, not none.
    let bearer = headers.get(AUTHORIZATION).map(|value| {
        let value = value.to_str().unwrap_or_default();
        value.strip_prefix("Bearer ").unwrap_or_default()
    });
    let mut is_known = !dashboard.gate.is_locked();
    if let Some(token) = bearer {
        enter(&dashboard, token, peer)?;
        is_known = true;
    }
    let place = Arc::clone(&dashboard.strangers).try_acquire_owned();
    let place = place.map_err(|_| ApiError::unavailable())?;
    Ok(upgrade
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .on_upgrade(move |socket| serve(socket, dashboard, peer, is_known, place)))
}

/// [`Gate::enter`](super::gate::Gate::enter), and a line in the security log if that fails.
fn enter(dashboard: &Dashboard, token: &str, peer: Option<IpAddr>) -> Result<(), Denied> {
    let entered = dashboard.gate.enter(token, peer);
    if let Err(denied) = entered {
        match denied {
            Denied::Unauthorized => report(Kind::Refused, "admin_token", peer),
            Denied::TooMany => report(Kind::Limit, "admin_token", peer),
        }
    }
    entered
}

fn report(kind: Kind, reason: &str, address: Option<IpAddr>) {
    security::report(Event {
        kind,
        reason,
        address,
        user: None,
        detail: "the dashboard",
    });
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unauthorized => AuthError::UnknownKey.into(),
            Denied::TooMany => Self::rate_limited(DENIED_RETRY_MS),
        }
    }
}

async fn serve(
    mut socket: WebSocket,
    dashboard: Arc<Dashboard>,
    peer: Option<IpAddr>,
    is_known: bool,
    place: OwnedSemaphorePermit,
) {
    if let Err(Some((code, reason))) = attend(&mut socket, &dashboard, peer, is_known, place).await
    {
        let frame = CloseFrame {
            code,
            reason: Utf8Bytes::from_static(reason),
        };
        // Whether it still hears us is not our affair.
        let _ = send(&mut socket, Message::Close(Some(frame))).await;
    }
}

/// Serves one viewer to its end. Errors: what it is told at the end; `None`: it has gone by itself.
async fn attend(
    socket: &mut WebSocket,
    dashboard: &Dashboard,
    peer: Option<IpAddr>,
    is_known: bool,
    place: OwnedSemaphorePermit,
) -> Result<(), Option<Farewell>> {
    let hello = json!({
        "type": "hello",
        "version": env!("CARGO_PKG_VERSION"),
        "authentication": if is_known { "none" } else { "token" },
        "interval_ms": INTERVAL.as_millis(),
    });
    send(socket, Message::text(hello.to_string())).await?;
    if !is_known {
        let said = timeout(TOKEN_TIMEOUT, token(socket)).await;
        let token = said.map_err(|_late| TOO_LATE)??;
        enter(dashboard, &token, peer).map_err(|denied| match denied {
            Denied::Unauthorized => UNAUTHORIZED,
            Denied::TooMany => TOO_MANY_WRONG,
        })?;
    }
    let _seat = dashboard
        .viewers
        .try_acquire()
        .map_err(|_full| TOO_MANY_VIEWERS)?;
    drop(place);
    let mut snapshots = dashboard.feed.watch();
    loop {
        tokio::select! {
            changed = snapshots.changed() => {
                changed.map_err(|_| None)?;
                let newest = snapshots.borrow_and_update().clone();
                send(socket, Message::Text(newest)).await?;
            }
            said = socket.recv() => match said {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Text(_) | Message::Binary(_))) => return Err(Some(TALKATIVE)),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(None),
            }
        }
    }
}

/// The token that a page shows first.
async fn token(socket: &mut WebSocket) -> Result<String, Option<Farewell>> {
    loop {
        match socket.recv().await {
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Text(text))) => {
                let said = serde_json::from_str(&text).map_err(|_| UNAUTHORIZED)?;
                let Said::Authentication { token } = said;
                return Ok(token);
            }
            Some(Ok(Message::Binary(_))) => return Err(Some(UNAUTHORIZED)),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(None),
        }
    }
}

async fn send(socket: &mut WebSocket, message: Message) -> Result<(), Option<Farewell>> {
    let sent = timeout(SEND_TIMEOUT, socket.send(message)).await;
    sent.map_err(|_slow| None)?.map_err(|_gone| None)
}
