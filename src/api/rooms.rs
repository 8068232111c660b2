//! Rooms: made, changed, looked at and ended; who is there, and who may be.
#![expect(unused_qualifications, reason = "the macro of utoipa writes them")]

use axum::Json;
use axum::extract::State as Extract;
use axum::http::header::LOCATION;
use axum::http::{HeaderName, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{Body, Parameters, Path};
use super::caller::Caller;
use super::cursor;
use super::error::ApiError;
use super::objects::{
    IdempotencyKey, NewRoom, PageOf, ParticipantPage, Problems, Room, RoomChanges, RoomPage,
    page_size,
};
use super::state::State;
use crate::auth::keys::Scope;
use crate::id::UserId;
use crate::realtime::protocol::Rejection;
use crate::realtime::{Asking, Errand, Room as RoomName};

/// Most rooms on one page: each is looked for on all shards.
const ROOMS_MAX: usize = 200;
/// Most participants on one page, unless presence names fewer.
const PARTICIPANTS_MAX: usize = 1000;

pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, replace, change, close))
        .routes(routes!(participants))
        .routes(routes!(add_member, remove_member))
}

/// Who asks about rooms: a user with its own powers, or a server key with the scope.
fn asking(caller: &Caller) -> Result<Asking, ApiError> {
    caller.asking(Scope::Rooms)
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Prefix {
    /// Only rooms whose identifiers begin with this.
    prefix: Option<String>,
}

/// Lists the rooms that the caller may see, by identifier.
#[utoipa::path(get, path = "/api/v1/rooms", tag = "rooms", params(PageOf, Prefix),
    responses((status = OK, body = RoomPage), Problems),
    security((), ("user_token" = []), ("server_key" = [])))]
async fn list(
    Extract(state): Extract<State>,
    caller: Caller,
    Parameters(page): Parameters<PageOf>,
    Parameters(Prefix { prefix }): Parameters<Prefix>,
) -> Result<Json<RoomPage>, ApiError> {
    let after = page.cursor.map(|cursor| cursor::decode(&cursor, &['r']));
    let after = after.transpose()?.map(|(_, name)| name);
    let limit = page_size(page.limit, ROOMS_MAX)?;
    let errand = Errand::rooms(&prefix.unwrap_or_default(), after.as_deref(), limit);
    let mut page: RoomPage = state.ask(asking(&caller)?, errand).await?;
    page.next_cursor = page.next_cursor.map(|name| cursor::encode('r', &name));
    Ok(Json(page))
}

/// Makes a room, for those whom `rooms.create` lets. A room that nobody enters ends after its
/// namespace's `cleanup_after`, unless it has an access list or is kept in the store.
#[utoipa::path(post, path = "/api/v1/rooms", tag = "rooms", request_body = NewRoom,
    params(IdempotencyKey),
    responses((status = CREATED, body = Room, headers(("Location" = String))), Problems),
    security(("user_token" = []), ("server_key" = [])))]
async fn create(
    Extract(state): Extract<State>,
    caller: Caller,
    Body(room): Body<NewRoom>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<Room>), ApiError> {
    let asking = asking(caller.known()?)?;
    let name = room.id.clone().unwrap_or_else(|| state.message_id());
    let members: Result<Vec<UserId>, ApiError> = room
        .members
        .iter()
        .map(|name| as_user(name, "members"))
        .collect();
    let errand = Errand::create(as_room(&name, "id")?, room.into_changes(), members?)?;
    let made = state.ask(asking, errand).await?;
    Ok((
        StatusCode::CREATED,
        [(LOCATION, path_of(&name))],
        Json(made),
    ))
}

/// The path of a room, percent-encoded.
fn path_of(room: &str) -> String {
    let mut path = String::from("/api/v1/rooms/");
    for byte in room.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

/// Tells of a room.
#[utoipa::path(get, path = "/api/v1/rooms/{id}", tag = "rooms", params(("id" = String, Path)),
    responses((status = OK, body = Room), Problems),
    security((), ("user_token" = []), ("server_key" = [])))]
async fn get(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Room>, ApiError> {
    Ok(Json(
        state
            .ask(asking(&caller)?, Errand::room(as_room(&id, "id")?)?)
            .await?,
    ))
}

/// Makes the room what the body says, with the default for what is missing; a room that is not there is
/// made.
#[utoipa::path(put, path = "/api/v1/rooms/{id}", tag = "rooms", request_body = RoomChanges,
    params(("id" = String, Path),
        IdempotencyKey),
    responses((status = OK, body = Room), (status = CREATED, body = Room), Problems),
    security(("user_token" = []), ("server_key" = [])))]
async fn replace(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(id): Path<String>,
    Body(changes): Body<RoomChanges>,
) -> Result<(StatusCode, Json<Room>), ApiError> {
    let asking = asking(caller.known()?)?;
    let changes = changes.whole();
    let asked: Result<Room, ApiError> = {
        let errand = Errand::update(as_room(&id, "id")?, changes.clone().into_changes())?;
        state.ask(asking.clone(), errand).await
    };
    match asked {
        Ok(room) => Ok((StatusCode::OK, Json(room))),
        Err(error) if error.is(Rejection::NotFound.code()) => {
            let errand = Errand::create(as_room(&id, "id")?, changes.into_changes(), Vec::new())?;
            let room = state.ask(asking, errand).await?;
            Ok((StatusCode::CREATED, Json(room)))
        }
        Err(error) => Err(error),
    }
}

/// Changes what the body names.
#[utoipa::path(patch, path = "/api/v1/rooms/{id}", tag = "rooms", request_body = RoomChanges,
    params(("id" = String, Path),
        IdempotencyKey),
    responses((status = OK, body = Room), Problems),
    security(("user_token" = []), ("server_key" = [])))]
async fn change(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(id): Path<String>,
    Body(changes): Body<RoomChanges>,
) -> Result<Json<Room>, ApiError> {
    let asking = asking(caller.known()?)?;
    let errand = Errand::update(as_room(&id, "id")?, changes.into_changes())?;
    Ok(Json(state.ask(asking, errand).await?))
}

/// Ends a room: everybody is told and sent away, and nothing of it is kept. Answers with the room as it was.
#[utoipa::path(delete, path = "/api/v1/rooms/{id}", tag = "rooms",
    params(("id" = String, Path),
        IdempotencyKey),
    responses((status = OK, body = Room, description = "As it was"), Problems),
    security(("user_token" = []), ("server_key" = [])))]
async fn close(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Room>, ApiError> {
    let asking = asking(caller.known()?)?;
    let room = state
        .ask(asking.clone(), Errand::room(as_room(&id, "id")?)?)
        .await?;
    let _: IgnoredAny = state
        .ask(asking, Errand::close(as_room(&id, "id")?)?)
        .await?;
    Ok(Json(room))
}

/// Lists who is in a room, by identifier: for its members.
#[utoipa::path(get, path = "/api/v1/rooms/{id}/participants", tag = "rooms",
    params(("id" = String, Path), PageOf),
    responses((status = OK, body = ParticipantPage), Problems),
    security(("user_token" = []), ("server_key" = [])))]
async fn participants(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(id): Path<String>,
    Parameters(page): Parameters<PageOf>,
) -> Result<Json<ParticipantPage>, ApiError> {
    let after = page.cursor.map(|cursor| cursor::decode(&cursor, &['p']));
    let after = after.transpose()?.map(|(_, name)| name);
    let limit = page_size(page.limit, PARTICIPANTS_MAX)?;
    let errand = Errand::members(as_room(&id, "id")?, after.as_deref(), limit)?;
    let mut page: ParticipantPage = state.ask(asking(&caller)?, errand).await?;
    page.next_cursor = page.next_cursor.map(|name| cursor::encode('p', &name));
    Ok(Json(page))
}

/// Puts a user on the room's access list: it may come in though the room is private, and is a member
/// while it is away.
#[utoipa::path(put, path = "/api/v1/rooms/{id}/members/{user_id}", tag = "rooms",
    params(("id" = String, Path), ("user_id" = String, Path),
        IdempotencyKey),
    responses((status = OK, body = Room), Problems),
    security(("user_token" = []), ("server_key" = [])))]
async fn add_member(
    Extract(state): Extract<State>,
    caller: Caller,
    Path((id, user)): Path<(String, String)>,
) -> Result<Json<Room>, ApiError> {
    let asking = asking(caller.known()?)?;
    let errand = Errand::add_member(as_room(&id, "id")?, as_user(&user, "user_id")?)?;
    Ok(Json(state.ask(asking, errand).await?))
}

/// Takes a user off the access list, and out of the room.
#[utoipa::path(delete, path = "/api/v1/rooms/{id}/members/{user_id}", tag = "rooms",
    params(("id" = String, Path), ("user_id" = String, Path),
        IdempotencyKey),
    responses((status = OK, body = Room), Problems),
    security(("user_token" = []), ("server_key" = [])))]
async fn remove_member(
    Extract(state): Extract<State>,
    caller: Caller,
    Path((id, user)): Path<(String, String)>,
) -> Result<Json<Room>, ApiError> {
    let asking = asking(caller.known()?)?;
    let errand = Errand::remove_member(as_room(&id, "id")?, as_user(&user, "user_id")?)?;
    Ok(Json(state.ask(asking, errand).await?))
}

/// A room's name, if any can be called so. Errors: 422 about `member`.
pub(super) fn as_room<'n>(name: &'n str, member: &'static str) -> Result<&'n str, ApiError> {
    let invalid = |_| Rejection::InvalidMember(member.into()).into();
    RoomName::named(name).map(|_| name).map_err(invalid)
}

/// A user's name, if anybody can be called so. Errors: 422 about `member`.
pub(super) fn as_user(name: &str, member: &'static str) -> Result<UserId, ApiError> {
    let is_valid = UserId::is_valid(name);
    let invalid = || Rejection::InvalidMember(member.into()).into();
    is_valid.then(|| UserId::from(name)).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rooms_path_is_one_segment() {
        assert_eq!(path_of("küche/1 ?"), "/api/v1/rooms/k%C3%BCche%2F1%20%3F");
    }
}
