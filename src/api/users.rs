//! Users: who is connected, word to one or to all, and their connections' end.

use axum::Json;
use axum::extract::State as Extract;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{Body, OptionalBody, Parameters, Path};
use super::caller::Caller;
use super::cursor;
use super::error::ApiError;
use super::messages::as_connection;
use super::objects::{
    Broadcast, Broadcasted, Connection, Connections, Disconnect, Disconnected, IdempotencyKey,
    PageOf, Problems, Push, Revocation, Revoked, Sent, User, UserPage, page_size,
};
use super::rooms::as_user;
use super::state::State;
use crate::auth::Revocation as Revoke;
use crate::auth::keys::Scope;
use crate::id::{ShardId, UserId};
use crate::realtime::protocol::MessageId;
use crate::realtime::{ConnectionView, Mail, Roles, UserView, UsersPage};
use crate::ws::CloseCode;

/// Most users on one page.
const USERS_MAX: usize = 1000;
/// How often shards are asked for one page: for somebody on each of 4,096 connections, a quarter of a million of
/// them, unless shards are more.
const LOOKS_MAX: usize = 64;
/// What a connection is closed with unless it is said otherwise, and why.
const SENT_AWAY: u16 = 4403;
const DISCONNECTED: &str = "disconnected by the server";
/// Longest reason of a close frame, bytes: RFC 6455 section 5.5.
const REASON_BYTES_MAX: usize = 123;
/// Longest `jti`, bytes.
const TOKEN_ID_BYTES_MAX: usize = 256;

pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(connections))
        .routes(routes!(send))
        .routes(routes!(disconnect))
        .routes(routes!(revoke))
        .routes(routes!(broadcast))
}

/// Which users are listed.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct UserPrefix {
    /// How their identifiers begin; missing or empty: all.
    prefix: Option<String>,
}

/// Lists the users who are connected, in no order that means anything. A page is short only if it is the last,
/// or if `prefix` fits so few that the server has looked at a quarter of a million connections for it.
#[utoipa::path(get, path = "/api/v1/users", tag = "server", params(UserPrefix, PageOf),
    responses((status = OK, body = UserPage), Problems), security(("server_key" = [])))]
async fn list(
    Extract(state): Extract<State>,
    caller: Caller,
    Parameters(UserPrefix { prefix }): Parameters<UserPrefix>,
    Parameters(page): Parameters<PageOf>,
) -> Result<Json<UserPage>, ApiError> {
    caller.server(Scope::Users)?;
    let limit = page_size(page.limit, USERS_MAX)?;
    let shards = state.server.shard_count();
    let from = match page.cursor {
        None => (0, 0),
        Some(cursor) => place(&cursor, shards)?,
    };
    let prefix = prefix.unwrap_or_default();
    let (users, next) = walk(shards, from, limit, |shard, slot, limit| {
        let prefix = prefix.clone();
        state.on_shard(ShardId(shard), move |app, context| {
            app.users(context, &prefix, slot, limit)
        })
    })
    .await?;
    let users = users.into_iter().map(|view| User {
        user_id: view.user.to_string(),
        connections: view.connections,
    });
    Ok(Json(UserPage {
        users: users.collect(),
        next_cursor: next.map(|(shard, slot)| cursor::encode('u', &format!("{shard}.{slot}"))),
    }))
}

/// A shard, and a place on it.
type Place = (u16, u32);

/// Collects `limit` users from a place on, shard by shard, and says where the next page begins, if there is
/// one. Asks at most [`LOOKS_MAX`] times: then the page may be short and not the last.
///
/// Errors: those of `look`.
async fn walk<F: Future<Output = Result<UsersPage, ApiError>>>(
    shards: u16,
    (mut shard, mut slot): Place,
    limit: usize,
    mut look: impl FnMut(u16, u32, usize) -> F,
) -> Result<(Vec<UserView>, Option<Place>), ApiError> {
    let mut users = Vec::new();
    for _ in 0..LOOKS_MAX {
        // On a full page it only looks whether there is one more, so that no page after the last is empty.
        let found = look(shard, slot, limit - users.len()).await?;
        users.extend(found.users);
        (shard, slot) = match found.next {
            Some(slot) => (shard, slot),
            None => (shard + 1, 0),
        };
        if shard >= shards {
            return Ok((users, None));
        }
        if found.has_more {
            break;
        }
    }
    Ok((users, Some((shard, slot))))
}

/// A shard that there is, and a place on it.
fn place(cursor: &str, shards: u16) -> Result<Place, ApiError> {
    let (_, place) = cursor::decode(cursor, &['u'])?;
    let place = place.split_once('.').and_then(|(shard, slot)| {
        let place: Place = (shard.parse().ok()?, slot.parse().ok()?);
        (place.0 < shards).then_some(place)
    });
    place.ok_or_else(|| ApiError::invalid_member("cursor", "no cursor of this list"))
}

/// Lists a user's connections.
#[utoipa::path(get, path = "/api/v1/users/{id}/connections", tag = "server",
    params(("id" = String, Path)),
    responses((status = OK, body = Connections), Problems), security(("server_key" = [])))]
async fn connections(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Connections>, ApiError> {
    caller.server(Scope::Users)?;
    let user = as_user(&id, "id")?;
    let home = state.server.home(&user);
    let found = state.on_shard(home, move |app, context| app.connections_of(context, &user));
    let found = found.await?.into_iter().map(describe).collect();
    Ok(Json(Connections {
        user_id: id,
        connections: found,
    }))
}

fn describe(view: ConnectionView) -> Connection {
    Connection {
        connection_id: view.id.to_string(),
        remote_address: view.remote_address.to_string(),
        profile: view.profile.to_string(),
        roles: view.roles.iter().map(Into::into).collect(),
        rooms: view.rooms.iter().map(|room| room.name().into()).collect(),
        buffered_bytes: view.buffered_bytes as u64,
    }
}

/// Sends a message to all connections of a user. Who is not connected never gets it.
#[utoipa::path(post, path = "/api/v1/users/{id}/send", tag = "server", request_body = Push,
    params(("id" = String, Path),
        IdempotencyKey),
    responses((status = OK, body = Sent), Problems), security(("server_key" = [])))]
async fn send(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(id): Path<String>,
    Body(push): Body<Push>,
) -> Result<Json<Sent>, ApiError> {
    caller.server(Scope::Publish)?;
    let user = as_user(&id, "id")?;
    let home = state.server.home(&user);
    let sent = state.on_shard(home, move |app, context| {
        app.send_to_user(context, &user, &push.message_type, push.data.get())
    });
    let (message_id, connections) = sent.await??;
    Ok(Json(Sent {
        message_id: message_id.to_string(),
        connections: connections as u64,
    }))
}

/// Sends a message to everybody who is connected, or who has one of some roles.
#[utoipa::path(post, path = "/api/v1/broadcast", tag = "server", request_body = Broadcast,
    params(IdempotencyKey),
    responses((status = OK, body = Broadcasted), Problems), security(("server_key" = [])))]
async fn broadcast(
    Extract(state): Extract<State>,
    caller: Caller,
    Body(push): Body<Broadcast>,
) -> Result<Json<Broadcasted>, ApiError> {
    caller.server(Scope::Publish)?;
    let Some(roles) = push.roles else {
        let mail = Mail::broadcast(&push.message_type, push.data.get())?;
        state.server.mail(ShardId(0), mail)?;
        let stats = state.server.stats().await?;
        return Ok(Json(Broadcasted {
            connections: stats.total_connections as u64,
        }));
    };
    let roles = as_roles(&roles)?;
    let mut told = 0;
    for shard in state.shards() {
        let (roles, message_type) = (roles.clone(), push.message_type.clone());
        let data = push.data.clone();
        let here = state.on_shard(shard, move |app, context| {
            app.broadcast_to(context, &roles, &message_type, data.get())
        });
        told += here.await??;
    }
    Ok(Json(Broadcasted {
        connections: told as u64,
    }))
}

fn as_roles(names: &[String]) -> Result<Roles, ApiError> {
    let invalid = || ApiError::invalid_member("roles", "expected 1 to 32 names of 1 to 64 bytes");
    if names.is_empty()
        || names
            .iter()
            .any(|name| name.is_empty() || name.contains(','))
    {
        return Err(invalid());
    }
    Roles::from_list(&names.join(",")).ok_or_else(invalid)
}

/// Closes a user's connections, or one of them. What was sent to them before still goes out.
#[utoipa::path(post, path = "/api/v1/users/{id}/disconnect", tag = "server",
    request_body = Option<Disconnect>,
    params(("id" = String, Path),
        IdempotencyKey),
    responses((status = OK, body = Disconnected), Problems), security(("server_key" = [])))]
async fn disconnect(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(how): OptionalBody<Disconnect>,
) -> Result<Json<Disconnected>, ApiError> {
    caller.server(Scope::Users)?;
    let user = as_user(&id, "id")?;
    let code = as_code(how.code.unwrap_or(SENT_AWAY))?;
    let reason = how.reason.unwrap_or_else(|| DISCONNECTED.into());
    if reason.len() > REASON_BYTES_MAX {
        return Err(ApiError::invalid_member("reason", "at most 123 bytes"));
    }
    let only = how.connection_id.as_deref();
    let only = only
        .map(|id| as_connection(id, "connection_id"))
        .transpose()?;
    let closed = state.on_shard(state.server.home(&user), move |_, context| {
        let mut connections = context.connections_of(&user);
        connections.retain(|connection| only.is_none_or(|only| only == *connection));
        for &connection in &connections {
            context.close(connection, code, &reason);
        }
        connections.len() as u64
    });
    Ok(Json(Disconnected {
        closed: closed.await?,
    }))
}

/// A close code that a server may send on somebody's behalf. Errors: 422 about `code`.
fn as_code(code: u16) -> Result<CloseCode, ApiError> {
    let is_allowed = matches!(code, 1000 | 1001 | 1008 | 1011..=1013 | 3000..=4999);
    let invalid = || ApiError::invalid_member("code", "no close code that can be sent");
    CloseCode::new(code)
        .filter(|_| is_allowed)
        .ok_or_else(invalid)
}

/// Revokes what a user can show: all tokens and sessions made before a time, or one token by its `jti`.
/// Connections that were opened with them are closed with 4401, and with all before a time also those of the
/// user that were let in before it and have shown nothing. Kept in the store, where there is one, before this is
/// answered; with 503 it is in force and not kept.
#[utoipa::path(post, path = "/api/v1/users/{id}/revoke", tag = "server",
    request_body = Option<Revocation>,
    params(("id" = String, Path),
        IdempotencyKey),
    responses((status = OK, body = Revoked), Problems), security(("server_key" = [])))]
async fn revoke(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(what): OptionalBody<Revocation>,
) -> Result<Json<Revoked>, ApiError> {
    caller.server(Scope::Admin)?;
    let user = as_user(&id, "id")?;
    let (revocation, issued_before) = match &what.token_id {
        Some(_) if what.issued_before.is_some() => {
            let error = "one token is meant, or all before a time";
            return Err(ApiError::invalid_member("issued_before", error));
        }
        Some(token) if !(1..=TOKEN_ID_BYTES_MAX).contains(&token.len()) => {
            return Err(ApiError::invalid_member(
                "token_id",
                "expected 1 to 256 bytes",
            ));
        }
        Some(token) => (of_token(token), None),
        None => {
            let before_s = what.issued_before.unwrap_or(state.now_s() + 1);
            (of_user(user, before_s), Some(before_s))
        }
    };
    state.revoke(revocation).await?;
    Ok(Json(Revoked {
        user_id: id,
        issued_before,
        token_id: what.token_id,
    }))
}

fn of_token(token: &str) -> Revoke {
    Revoke::Token { id: token.into() }
}

fn of_user(user: UserId, issued_before_s: u64) -> Revoke {
    Revoke::User {
        user,
        issued_before_s,
    }
}

impl State {
    /// A new identifier, for what is made here and not on a shard.
    pub(super) fn message_id(&self) -> String {
        MessageId::new(self.clock.now().unix_ms, fastrand::u64(..)).to_string()
    }

    /// The wall clock, seconds since 1970 UTC.
    pub(super) fn now_s(&self) -> u64 {
        self.clock.now().unix_ms / 1000
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is in a slot: nobody, somebody else's, or a user of the list.
    type Slots = Vec<Option<u32>>;

    /// A shard that looks at three slots at a time.
    fn look(slots: &Slots, from: u32, limit: usize) -> UsersPage {
        let from = from as usize;
        let mut page = UsersPage::default();
        let end = slots.len().min(from + 3);
        page.next = (end < slots.len()).then(|| u32::try_from(end).unwrap());
        for (slot, user) in (0_u32..).zip(slots).take(end).skip(from) {
            let Some(user) = user else { continue };
            if page.users.len() == limit {
                (page.next, page.has_more) = (Some(slot), true);
                break;
            }
            page.users.push(UserView {
                user: UserId::from(&*user.to_string()),
                connections: 1,
            });
        }
        page
    }

    fn walked(shards: &[Slots], limit: usize) -> Vec<Vec<String>> {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build().unwrap();
        let (mut pages, mut place) = (Vec::new(), Some((0, 0)));
        while let Some(from) = place {
            let count = u16::try_from(shards.len()).unwrap();
            let look =
                async |shard: u16, slot, limit| Ok(look(&shards[usize::from(shard)], slot, limit));
            let (users, next) = runtime.block_on(walk(count, from, limit, look)).unwrap();
            pages.push(users.iter().map(|view| view.user.to_string()).collect());
            assert!(
                next.is_none_or(|next| next > from),
                "each page gets further"
            );
            place = next;
        }
        pages
    }

    proptest! {
        #[test]
        fn pages_are_full_but_the_last_and_hold_everybody_once(
            shards in prop::collection::vec(prop::collection::vec(prop::option::of(0u32..9), 0..25), 1..5),
            limit in 1usize..8,
        ) {
            let mut number = 0;
            let mut numbered = |slot: &Option<u32>| {
                number += 1;
                slot.map(|_| number)
            };
            let shards: Vec<Slots> = shards.iter().map(|s| s.iter().map(&mut numbered).collect()).collect();
            let pages = walked(&shards, limit);
            let (last, full) = pages.split_last().unwrap();
            prop_assert!(full.iter().all(|page| page.len() == limit), "{:?}", pages);
            prop_assert!(!last.is_empty() || full.is_empty(), "{:?}", pages);
            let everybody: Vec<String> = shards.iter().flatten().flatten().map(u32::to_string).collect();
            prop_assert_eq!(pages.concat(), everybody);
        }
    }

    #[test]
    fn what_is_looked_at_for_one_page_is_bounded() {
        let mut slots: Slots = vec![None; 3 * LOOKS_MAX + 3];
        slots.push(Some(1));
        slots.push(Some(2));
        let pages = walked(&[slots], 1);
        assert_eq!(pages, [vec![], vec!["1".to_owned()], vec!["2".into()]]);
    }

    #[test]
    fn only_codes_that_mean_something_to_a_client_are_sent() {
        for code in [1000, 1012, 3000, 4401, 4999] {
            assert!(as_code(code).is_ok(), "{code}");
        }
        for code in [0, 999, 1002, 1005, 1006, 1010, 1015, 2000, 2999, 5000] {
            assert!(as_code(code).is_err(), "{code}");
        }
    }

    #[test]
    fn a_cursor_of_a_shard_that_is_not_there_is_refused() {
        let cursor = |place: &str| cursor::encode('u', place);
        assert_eq!(place(&cursor("1.77"), 2).unwrap(), (1, 77));
        for wrong in ["2.0", "1", "-1.0", "1.x", "1.4294967296"] {
            assert!(place(&cursor(wrong), 2).is_err(), "{wrong}");
        }
    }

    #[test]
    fn roles_are_names_without_commas() {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        let roles = as_roles(&names(&["admin", "editor"])).unwrap();
        assert_eq!(roles.iter().collect::<Vec<_>>(), ["admin", "editor"]);
        for wrong in [&[][..], &[""], &["a,b"], &["a b"], &["x"; 33]] {
            assert!(as_roles(&names(wrong)).is_err(), "{wrong:?}");
        }
    }
}
