//! Messages: what was said in a room, something new, and what has become of it.
#![expect(unused_qualifications, reason = "the macro of utoipa writes them")]

use axum::Json;
use axum::extract::State as Extract;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{Body, Parameters, Path};
use super::caller::Caller;
use super::cursor;
use super::error::ApiError;
use super::objects::{
    IdempotencyKey, MessagePage, MessageStatus, NewMessage, PageOf, Problems, Publication,
    Published, page_size,
};
use super::rooms::as_room;
use super::state::State;
use crate::auth::keys::Scope;
use crate::id::ConnectionId;
use crate::realtime::protocol::{MessageId, Rejection};
use crate::realtime::{Errand, Said};

/// Most messages on one page.
const MESSAGES_MAX: usize = 1000;

pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(history, post))
        .routes(routes!(status))
        .routes(routes!(publish))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Between {
    /// Only messages before this one: an offset or a message's identifier. The newest of them come.
    before: Option<String>,
    /// Only messages after this one: an offset or a message's identifier. The oldest of them come.
    after: Option<String>,
}

/// Lists messages of a room in the order of their offsets: the newest, or those before or after one.
/// For its members.
#[utoipa::path(get, path = "/api/v1/rooms/{id}/messages", tag = "messages",
    params(("id" = String, Path), PageOf, Between),
    responses((status = OK, body = MessagePage), Problems),
    security(("user_token" = []), ("server_key" = [])))]
async fn history(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(id): Path<String>,
    Parameters(page): Parameters<PageOf>,
    Parameters(between): Parameters<Between>,
) -> Result<Json<MessagePage>, ApiError> {
    let limit = page_size(page.limit, MESSAGES_MAX)?;
    let Between {
        mut before,
        mut after,
    } = between;
    if let Some(cursor) = page.cursor {
        // It goes on in its own direction, whose other end the parameters may still say.
        match cursor::decode(&cursor, &['a', 'b'])? {
            ('a', offset) => after = Some(offset),
            (_, offset) => before = Some(offset),
        }
    }
    let kind = if after.is_some() { 'a' } else { 'b' };
    let errand = Errand::history(
        as_room(&id, "id")?,
        before.as_deref(),
        after.as_deref(),
        limit,
    )?;
    let asking = caller.asking(Scope::Rooms)?;
    let mut page: MessagePage = state.ask(asking, errand).await?;
    page.next_cursor = page.next_cursor.map(|offset| cursor::encode(kind, &offset));
    Ok(Json(page))
}

/// Says something in a room: as the user who asks, who need not be there if it may come in, or with a
/// server key as the server.
#[utoipa::path(post, path = "/api/v1/rooms/{id}/messages", tag = "messages", request_body = NewMessage,
    params(("id" = String, Path),
        IdempotencyKey),
    responses((status = CREATED, body = Published), Problems),
    security(("user_token" = []), ("server_key" = [])))]
async fn post(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(id): Path<String>,
    Body(message): Body<NewMessage>,
) -> Result<(StatusCode, Json<Published>), ApiError> {
    let asking = caller.known()?.asking(Scope::Publish)?;
    let said = Said {
        message_type: message.message_type.as_deref().unwrap_or("chat"),
        data: message.data.get(),
        client_message_id: message.client_message_id.as_deref(),
    };
    let errand = if caller.is_server() {
        Errand::publish(as_room(&id, "id")?, said, None)?
    } else {
        Errand::say(as_room(&id, "id")?, said)?
    };
    let published = state.ask(asking, errand).await?;
    Ok((StatusCode::CREATED, Json(published)))
}

/// Publishes to a topic as the server.
#[utoipa::path(post, path = "/api/v1/publish", tag = "server", request_body = Publication,
    params(IdempotencyKey),
    responses((status = OK, body = Published), Problems), security(("server_key" = [])))]
async fn publish(
    Extract(state): Extract<State>,
    caller: Caller,
    Body(message): Body<Publication>,
) -> Result<Json<Published>, ApiError> {
    let asking = caller.server(Scope::Publish)?;
    let exclude = message.exclude_connection.as_deref();
    let exclude = exclude.map(|id| as_connection(id, "exclude_connection"));
    let said = Said {
        message_type: message.message_type.as_deref().unwrap_or("publish"),
        data: message.data.get(),
        client_message_id: message.idempotency_key.as_deref(),
    };
    let topic = as_room(&message.topic, "topic")?;
    let errand =
        Errand::publish(topic, said, exclude.transpose()?).map_err(
            |rejection| match rejection {
                Rejection::InvalidMember(name) if name == "client_message_id" => {
                    Rejection::InvalidMember("idempotency_key".into())
                }
                other => other,
            },
        )?;
    Ok(Json(state.ask(asking, errand).await?))
}

/// A connection's identifier. Errors: 422 about `member`.
pub(super) fn as_connection(text: &str, member: &'static str) -> Result<ConnectionId, ApiError> {
    let invalid = |_| Rejection::InvalidMember(member.into()).into();
    text.parse().map_err(invalid)
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct InRoom {
    /// The message's room, which spares looking for it.
    room_id: Option<String>,
}

/// Tells who has got and read a message: its author, the room's owner, or a server key. Of messages that are in
/// memory, and in persistent rooms of all that the store has.
#[utoipa::path(get, path = "/api/v1/messages/{id}/status", tag = "messages",
    params(("id" = String, Path), InRoom),
    responses((status = OK, body = MessageStatus), Problems),
    security(("user_token" = []), ("server_key" = [])))]
async fn status(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(id): Path<String>,
    Parameters(InRoom { room_id }): Parameters<InRoom>,
) -> Result<Json<MessageStatus>, ApiError> {
    let asking = caller.known()?.asking(Scope::Rooms)?;
    let message = MessageId::parse(&id).ok_or(Rejection::InvalidMember("id".into()))?;
    let room = match room_id {
        Some(room) => room,
        None => find_room(&state, message).await?,
    };
    let errand = Errand::message_status(&room, message)?;
    Ok(Json(state.ask(asking, errand).await?))
}

/// Asks the shards one after the other for a message's room, and then the store.
async fn find_room(state: &State, message: MessageId) -> Result<String, ApiError> {
    for shard in state.shards() {
        let found = state.on_shard(shard, move |app, _| app.room_of(message));
        if let Some(room) = found.await? {
            return Ok(room.name().to_owned());
        }
    }
    let Some(store) = &state.store else {
        return Err(Rejection::NotFound.into());
    };
    let asked = store.room_of(message.as_u128());
    let asked = asked.map_err(|_| ApiError::unavailable())?;
    let found = state.in_time(asked).await?.map_err(|error| {
        tracing::warn!(%error, "a message's room cannot be looked for");
        ApiError::unavailable()
    })?;
    found.ok_or_else(|| Rejection::NotFound.into())
}
