//! Pairing over HTTP: players make, join, change and end pairings. `docs/PAIRING.md` is the guide.
//!
//! ```no_run
//! use campanile::Server;
//! use campanile::api::pairing::PairingBook;
//! use campanile::api::{self, ApiOptions, State};
//! use campanile::pairing::PairingOptions;
//! use campanile::realtime::{Realtime, RealtimeOptions};
//!
//! let book = PairingBook::open(PairingOptions::default(), None)?;
//! Server::new(|_shard| Realtime::new(RealtimeOptions::default()))
//!     .listen("127.0.0.1:8080")
//!     .router_with(|handle| {
//!         let mut state = State::new(handle.clone(), ApiOptions::default());
//!         state.pairing = Some(book.serve(handle));
//!         api::router(state)
//!     })
//!     .run()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bodies;
mod desk;

use std::time::Duration;

use axum::Json;
use axum::extract::State as Extract;
use axum::http::header::LOCATION;
use axum::http::{HeaderName, StatusCode};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use desk::{DeskError, OpenPairingsError, PairingBook, PairingDesk};

use super::body::{Body, OptionalBody, Parameters, Path};
use super::caller::Caller;
use super::cursor;
use super::error::ApiError;
use super::objects::{Error, IdempotencyKey, PageOf, Problems, page_size};
use super::state::State;
use crate::id::UserId;
use crate::pairing::{Draft, Pairing, PairingError, PairingId, PairingObject};
use crate::security;
use bodies::{By, Join, JoinByCode, NewPairing, OfStatus, PairingChanges, PairingPage, player};

/// Most pairings on one page.
const PAIRINGS_MAX: usize = 200;

/// The routes, for [`State::pairing`].
pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(join_by_code))
        .routes(routes!(join))
        .routes(routes!(get, change, expire))
}

impl State {
    /// The desk. Errors: 404 where there is none.
    fn desk(&self) -> Result<&PairingDesk, ApiError> {
        self.pairing
            .as_ref()
            .ok_or_else(|| StatusCode::NOT_FOUND.into())
    }
}

/// The pairing as a player sees it.
fn seen(pairing: &Pairing, player: &UserId) -> Json<PairingObject> {
    Json(PairingObject::new(pairing, Some(player)))
}

/// Errors: 404 to what is no name of a pairing: there is none of it.
fn named(id: &str) -> Result<PairingId, ApiError> {
    PairingId::parse(id).ok_or_else(|| PairingError::NotFound.into())
}

/// Makes a pairing, which waits to be joined. Its code is for whoever makes it, to be told to the other
/// player; a pairing for a named player is a friend request, and that player alone may join.
#[utoipa::path(post, path = "/api/v1/connections", tag = "pairing", request_body = NewPairing,
    params(IdempotencyKey),
    responses((status = CREATED, body = PairingObject, headers(("Location" = String))), Problems),
    security(("user_token" = []), ("server_key" = [])))]
async fn create(
    Extract(state): Extract<State>,
    caller: Caller,
    Body(new): Body<NewPairing>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<PairingObject>), ApiError> {
    let player = player(&state, &caller, new.player_id)?;
    let draft = Draft {
        target: new.target_player_id.map(|target| target.0),
        name: new.name,
        expires_in: new.expires_in_s.map(Duration::from_secs),
        metadata: new.metadata,
    };
    let made = state.desk()?.create(player.clone(), draft).await?;
    let location = format!("/api/v1/connections/{}", made.id);
    Ok((
        StatusCode::CREATED,
        [(LOCATION, location)],
        seen(&made, &player),
    ))
}

/// Joins the pairing of a code, which makes it active. Wrong codes are counted: after a few one has to
/// wait, and is not told whether the next was right.
#[utoipa::path(post, path = "/api/v1/connections/join", tag = "pairing", request_body = JoinByCode,
    params(IdempotencyKey),
    responses((status = OK, body = PairingObject), (status = GONE, body = Error, description = "It has expired"),
        Problems),
    security(("user_token" = []), ("server_key" = [])))]
async fn join_by_code(
    Extract(state): Extract<State>,
    caller: Caller,
    bodies::From(address): bodies::From,
    Body(join): Body<JoinByCode>,
) -> Result<Json<PairingObject>, ApiError> {
    let player = player(&state, &caller, join.player_id)?;
    let desk = state.desk()?;
    let joined = desk.join_by_code(player.clone(), address, join.code).await;
    if let Err(DeskError::Pairing(PairingError::TooManyGuesses { .. })) = joined {
        security::report(security::Event {
            kind: security::Kind::Limit,
            reason: "wrong_codes",
            address,
            user: Some(&player),
            detail: "too many wrong codes of pairings",
        });
    }
    Ok(seen(&joined?, &player))
}

/// Joins a pairing by its identifier, which makes it active. The same player may do it again.
#[utoipa::path(post, path = "/api/v1/connections/{id}/join", tag = "pairing", request_body = Join,
    params(("id" = String, Path),
        IdempotencyKey),
    responses((status = OK, body = PairingObject), (status = GONE, body = Error, description = "It has expired"),
        Problems),
    security(("user_token" = []), ("server_key" = [])))]
async fn join(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(join): OptionalBody<Join>,
) -> Result<Json<PairingObject>, ApiError> {
    let player = player(&state, &caller, join.player_id)?;
    let joined = state.desk()?.join(player.clone(), named(&id)?).await?;
    Ok(seen(&joined, &player))
}

/// Changes a pairing's status, name or metadata. The only status that can be asked for is `expired`, which
/// ends it: a pairing becomes active by being joined.
#[utoipa::path(patch, path = "/api/v1/connections/{id}", tag = "pairing", request_body = PairingChanges,
    params(("id" = String, Path),
        IdempotencyKey),
    responses((status = OK, body = PairingObject), (status = GONE, body = Error, description = "It has expired"),
        Problems),
    security(("user_token" = []), ("server_key" = [])))]
async fn change(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(id): Path<String>,
    Body(mut changes): Body<PairingChanges>,
) -> Result<Json<PairingObject>, ApiError> {
    let player = player(&state, &caller, changes.player_id.take())?;
    let patch = changes.into_patch();
    let changed = state.desk()?.change(player.clone(), named(&id)?, patch);
    Ok(seen(&changed.await?, &player))
}

/// Tells of a pairing, to its players.
#[utoipa::path(get, path = "/api/v1/connections/{id}", tag = "pairing", params(("id" = String, Path), By),
    responses((status = OK, body = PairingObject), Problems),
    security(("user_token" = []), ("server_key" = [])))]
async fn get(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(id): Path<String>,
    Parameters(by): Parameters<By>,
) -> Result<Json<PairingObject>, ApiError> {
    let player = player(&state, &caller, by.player_id)?;
    let pairing = state.desk()?.get(&player, named(&id)?)?;
    Ok(seen(&pairing, &player))
}

/// Ends a pairing: it has expired.
#[utoipa::path(delete, path = "/api/v1/connections/{id}", tag = "pairing", params(("id" = String, Path), By,
        IdempotencyKey),
    responses((status = OK, body = PairingObject), (status = GONE, body = Error, description = "It has expired"),
        Problems),
    security(("user_token" = []), ("server_key" = [])))]
async fn expire(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(id): Path<String>,
    Parameters(by): Parameters<By>,
) -> Result<Json<PairingObject>, ApiError> {
    let player = player(&state, &caller, by.player_id)?;
    let ended = state.desk()?.expire(player.clone(), named(&id)?).await?;
    Ok(seen(&ended, &player))
}

/// Lists a player's pairings, the youngest first: those that it has made or joined, and those that were
/// made for it.
#[utoipa::path(get, path = "/api/v1/connections", tag = "pairing", params(By, OfStatus, PageOf),
    responses((status = OK, body = PairingPage), Problems),
    security(("user_token" = []), ("server_key" = [])))]
async fn list(
    Extract(state): Extract<State>,
    caller: Caller,
    Parameters(by): Parameters<By>,
    Parameters(of): Parameters<OfStatus>,
    Parameters(page): Parameters<PageOf>,
) -> Result<Json<PairingPage>, ApiError> {
    let player = player(&state, &caller, by.player_id)?;
    let limit = page_size(page.limit, PAIRINGS_MAX)?;
    let before = page.cursor.map(|cursor| place(&cursor)).transpose()?;
    let status = of.status.map(|status| status.0);
    let page = state.desk()?.list(&player, status, before, limit);
    let seen = |pairing: &Pairing| PairingObject::new(pairing, Some(&player));
    let next = page.next.map(|id| cursor::encode('c', &id.to_string()));
    Ok(Json(PairingPage {
        connections: page.pairings.iter().map(seen).collect(),
        next_cursor: next,
    }))
}

/// Where a page begins. Errors: 422.
fn place(text: &str) -> Result<PairingId, ApiError> {
    let (_, id) = cursor::decode(text, &['c'])?;
    let id = PairingId::parse(&id);
    id.ok_or_else(|| ApiError::invalid_member("cursor", "no cursor of this list"))
}
