//! The methods that come with Campanile.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::announcement::is_allowed;
use super::rpc::{Method, Params, Rpc};
use crate::id::UserId;
use crate::realtime::protocol::{Fields, Members, MessageId, Rejection};
use crate::realtime::rooms::{ADMIN, Changes, Listing, Mark, Page, Question, Room, Spec};
use crate::realtime::{Ctx, HandlerError};

/// Messages or rooms on a page whose size is not said, and most of them on one page.
const PAGE_SIZE: usize = 50;
const PAGE_SIZE_MAX: usize = 1000;
/// Most rooms on one page: each is looked for on all shards.
const ROOMS_MAX: usize = 200;

pub(super) fn add_all(rpc: &mut Rpc) {
    rpc.add(ServerTime);
    rpc.add(UserConnections);
    rpc.add(RoomList);
    let of_room: [(&'static str, Ask); 9] = [
        ("room.get", |_, _| Ok(Question::Get)),
        ("room.members", |members, ctx| {
            Ok(Question::Members {
                limit: limit(members.clone(), ctx.options().presence.members_max)?,
                cursor: cursor(members)?,
            })
        }),
        ("room.history", |members, _| {
            page(members).map(Question::History)
        }),
        ("room.update", |members, _| {
            let changes: Changes = fields(members)?;
            changes.check()?;
            Ok(Question::Update(Box::new(changes)))
        }),
        ("room.kick", |members, _| {
            Ok(Question::Kick {
                ban_s: number(members.clone(), "ban_s")?.unwrap_or(0),
                user: user(members)?,
            })
        }),
        ("room.close", |_, _| Ok(Question::Close)),
        ("room.add_member", |members, _| {
            user(members).map(Question::AddMember)
        }),
        ("room.remove_member", |members, _| {
            user(members).map(Question::RemoveMember)
        }),
        ("room.create", create),
    ];
    for (name, ask) in of_room {
        rpc.add(OfRoom { name, ask });
    }
}

/// What is asked of a room, from the members of the call's parameters.
type Ask = fn(Members<'_>, &mut Ctx<'_>) -> Result<Question, Rejection>;

fn create(members: Members<'_>, ctx: &mut Ctx<'_>) -> Result<Question, Rejection> {
    let allowed = ctx.options().may_create_rooms.clone();
    if !is_allowed(ctx, &allowed) && !ctx.roles().contains(ADMIN) {
        return Err(Rejection::Forbidden);
    }
    let spec = Spec {
        members: users(members.clone(), "members")?,
        changes: fields(members)?,
    };
    spec.check()?;
    Ok(Question::Create(Box::new(spec)))
}

/// A method that the room's home answers.
struct OfRoom {
    name: &'static str,
    ask: Ask,
}

impl Method for OfRoom {
    fn name(&self) -> &str {
        self.name
    }

    fn call(&mut self, ctx: &mut Ctx<'_>, params: &Params<'_>) -> Result<(), HandlerError> {
        let members = params.members()?;
        let room = match room(members.clone())? {
            Some(room) => room,
            // A room that is made may be called anything.
            None if self.name == "room.create" => Room::new(&ctx.message_id().to_string()),
            None => return Err(Rejection::RoomRequired.into()),
        };
        let question = (self.ask)(members, ctx)?;
        ctx.ask_room(room, question);
        Ok(())
    }
}

/// `server.time`: the server's clock.
struct ServerTime;

impl Method for ServerTime {
    fn name(&self) -> &str {
        "server.time"
    }

    fn call(&mut self, ctx: &mut Ctx<'_>, _: &Params<'_>) -> Result<(), HandlerError> {
        let (at, now) = (ctx.timestamp(), ctx.now());
        ctx.result(|fields| fields.time("time", &at).number("unix_ms", now.unix_ms));
        Ok(())
    }
}

/// `user.connections`: the caller's own connections.
struct UserConnections;

impl Method for UserConnections {
    fn name(&self) -> &str {
        "user.connections"
    }

    fn call(&mut self, ctx: &mut Ctx<'_>, _: &Params<'_>) -> Result<(), HandlerError> {
        let (user, own) = (ctx.user().clone(), ctx.connection());
        let connections = ctx.core().connections_of(&user);
        ctx.result(|fields| {
            fields.number("count", connections.len() as u64).list(
                "connections",
                connections,
                |item, id| {
                    item.str("connection_id", &id.to_string())
                        .bool("is_own", id == own)
                },
            )
        });
        Ok(())
    }
}

/// `room.list`: the rooms that the caller may see, in pages by name.
struct RoomList;

impl Method for RoomList {
    fn name(&self) -> &str {
        "room.list"
    }

    fn call(&mut self, ctx: &mut Ctx<'_>, params: &Params<'_>) -> Result<(), HandlerError> {
        let members = params.members()?;
        let prefix = string(members.clone(), "prefix")?.unwrap_or_default();
        let after = cursor(members.clone())?;
        let limit = limit(members, ROOMS_MAX)?;
        let asker = (ctx.asker(), ctx.roles());
        let listing = Listing::new(asker, &prefix, after.as_deref(), limit);
        ctx.outlet().list(listing);
        Ok(())
    }
}

/// A member of an object, which may stand there once.
fn only<'a>(members: Members<'a>, name: &str) -> Result<Option<&'a str>, Rejection> {
    let mut found = None;
    for member in members.filter(|member| member.is(name)) {
        if found.replace(member.raw()).is_some() {
            return Err(Rejection::RepeatedMember(name.to_owned().into()));
        }
    }
    Ok(found.filter(|raw| *raw != "null"))
}

fn string<'a>(members: Members<'a>, name: &str) -> Result<Option<Cow<'a, str>>, Rejection> {
    let invalid = |_| Rejection::InvalidMember(name.to_owned().into());
    let raw = only(members, name)?;
    raw.map(|raw| {
        serde_json::from_str::<String>(raw)
            .map(Cow::Owned)
            .map_err(invalid)
    })
    .transpose()
}

fn number<T: std::str::FromStr>(members: Members<'_>, name: &str) -> Result<Option<T>, Rejection> {
    let invalid = |_| Rejection::InvalidMember(name.to_owned().into());
    only(members, name)?
        .map(|raw| raw.parse().map_err(invalid))
        .transpose()
}

/// The members as a value of type `T`; those it does not know are left out.
fn fields<T: serde::de::DeserializeOwned>(members: Members<'_>) -> Result<T, Rejection> {
    let mut object = Vec::new();
    Fields::write(&mut object, |fields| fields.members(members));
    serde_json::from_slice(&object).map_err(|error| Rejection::InvalidPayload(error.to_string()))
}

/// A string or an integer.
fn identifier<'a>(
    members: Members<'a>,
    name: &'static str,
) -> Result<Option<Cow<'a, str>>, Rejection> {
    let raw = only(members, name)?;
    raw.map(|raw| as_identifier(raw, name)).transpose()
}

fn as_identifier<'a>(raw: &'a str, name: &'static str) -> Result<Cow<'a, str>, Rejection> {
    let invalid = || Rejection::InvalidMember(name.into());
    if raw.starts_with('"') {
        let text: String = serde_json::from_str(raw).map_err(|_| invalid())?;
        return Ok(Cow::Owned(text));
    }
    let is_integer = raw
        .strip_prefix('-')
        .unwrap_or(raw)
        .bytes()
        .all(|byte| byte.is_ascii_digit());
    let is_integer = is_integer && raw != "-0";
    is_integer.then_some(Cow::Borrowed(raw)).ok_or_else(invalid)
}

fn room(members: Members<'_>) -> Result<Option<Room>, Rejection> {
    let mut found = None;
    for name in ["room_id", "chat_id", "topic", "channel", "id"] {
        if let Some(room) = identifier(members.clone(), name)?
            && found.replace(Room::named(&room)?).is_some()
        {
            return Err(Rejection::RepeatedMember(name.into()));
        }
    }
    Ok(found)
}

fn user(members: Members<'_>) -> Result<UserId, Rejection> {
    let user = identifier(members, "user_id")?;
    let user = user.ok_or(Rejection::MissingMember("user_id".into()))?;
    as_user(&user, "user_id")
}

fn as_user(name: &str, member: &'static str) -> Result<UserId, Rejection> {
    let is_valid = UserId::is_valid(name);
    is_valid
        .then(|| UserId::from(name))
        .ok_or(Rejection::InvalidMember(member.into()))
}

/// A list of users; none if there is no such member.
fn users(members: Members<'_>, name: &'static str) -> Result<Vec<UserId>, Rejection> {
    let list = only(members, name)?.unwrap_or("[]");
    let list: Vec<&RawValue> =
        serde_json::from_str(list).map_err(|_| Rejection::InvalidMember(name.into()))?;
    let users = list.into_iter().map(|raw| {
        let user = as_identifier(raw.get(), name)?;
        as_user(&user, name)
    });
    users.collect()
}

/// How many are wanted on a page, at most `max`.
pub(super) fn limit(members: Members<'_>, max: usize) -> Result<usize, Rejection> {
    match number(members, "limit")? {
        None => Ok(PAGE_SIZE.min(max)),
        Some(0) => Err(Rejection::InvalidMember("limit".into())),
        Some(limit) => Ok(limit.min(max)),
    }
}

pub(super) fn cursor(members: Members<'_>) -> Result<Option<Box<str>>, Rejection> {
    Ok(string(members, "cursor")?.map(Into::into))
}

/// A page of messages. A `cursor` goes on where the last page has ended, before it or after.
fn page(members: Members<'_>) -> Result<Page, Rejection> {
    let before = mark(members.clone(), "before")?;
    let after = mark(members.clone(), "after")?;
    let cursor = mark(members.clone(), "cursor")?;
    let limit = limit(members, PAGE_SIZE_MAX)?;
    Ok(match (after, cursor) {
        (Some(after), cursor) => Page {
            before,
            after: Some(cursor.unwrap_or(after)),
            limit,
        },
        (None, cursor) => Page {
            before: cursor.or(before),
            after: None,
            limit,
        },
    })
}

/// A message's offset, or its identifier.
fn mark(members: Members<'_>, name: &'static str) -> Result<Option<Mark>, Rejection> {
    let Some(text) = identifier(members, name)? else {
        return Ok(None);
    };
    if let Ok(offset) = text.parse() {
        return Ok(Some(Mark::Offset(offset)));
    }
    let id = MessageId::parse(&text).ok_or(Rejection::InvalidMember(name.into()))?;
    Ok(Some(Mark::Message(id)))
}
