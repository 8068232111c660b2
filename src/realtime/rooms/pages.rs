//! Pages of a room's messages.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::Room;
use super::powers::{Mark, Page};
use super::room::RoomState;
use crate::realtime::mail::{Asker, Letter, Mail};
use crate::realtime::outlet::Outlet;
use crate::realtime::post::Record;
use crate::realtime::protocol::{MessageId, Position, Profile, Rejection};
use crate::realtime::writing::Written;
use crate::store::{self, Store, StoreError};

/// Most bytes of one page, so that it fits a connection's queue: a page ends early before it holds more.
pub(super) const PAGE_BYTES_MAX: usize = 128 * 1024;

/// A page, as the peer gets it.
struct Messages {
    /// The texts of JSON objects, in order.
    frames: Vec<String>,
    /// The offset from which the next page goes on, if there is one.
    next: Option<u64>,
}

impl Messages {
    /// The first of `records`, in the order in which they are asked for, that fit a page; told in
    /// the order of their offsets.
    fn new<'r>(
        records: impl Iterator<Item = (u64, &'r Record)>,
        (room, profile): (&Room, Profile),
        page: &Page,
        has_more: bool,
    ) -> Self {
        let mut frames = Vec::new();
        let (mut bytes, mut last, mut is_cut) = (0, None, false);
        for (offset, record) in records {
            let frame = as_json(record, room, offset, profile);
            bytes += frame.len();
            if bytes > PAGE_BYTES_MAX && !frames.is_empty() {
                is_cut = true;
                break;
            }
            last = Some(offset);
            frames.push(frame);
        }
        if page.after.is_none() {
            frames.reverse();
        }
        Self {
            frames,
            next: last.filter(|_| has_more || is_cut),
        }
    }

    fn to_json(&self) -> String {
        let next = self
            .next
            .map_or("null".into(), |next| format!("\"{next}\""));
        format!(
            "{{\"messages\":[{}],\"next_cursor\":{next}}}",
            self.frames.join(",")
        )
    }
}

/// A message as part of a page: its frame. Bytes are told in base64.
fn as_json(record: &Record, room: &Room, offset: u64, profile: Profile) -> String {
    match record.written(room.name(), offset, profile) {
        Written::Text(text) => text,
        Written::Binary(_) => {
            let (object, bytes) = record.binary().expect("written as binary");
            let rest = object.strip_suffix('}').expect("an object's text");
            let comma = if rest.trim_end().ends_with('{') {
                ""
            } else {
                ","
            };
            let object = format!(
                "{rest}{comma}\"base64\":\"{}\"}}",
                BASE64_STANDARD.encode(bytes)
            );
            let position = Some(Position {
                offset,
                epoch: None,
            });
            match Written::new(&record.outbound_as(room.name(), position, &object), profile) {
                Written::Text(text) => text,
                Written::Binary(_) => unreachable!("an object is text"),
            }
        }
    }
}

impl RoomState {
    /// Answers `room.history`: from memory if it reaches as far back as asked, else from the store.
    pub(super) fn answer_history(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        asker: &Asker,
        page: Page,
    ) -> Result<(), Rejection> {
        let bounds = self.bounds(outlet);
        self.window.expire(outlet.unix_ms(), &bounds);
        if let Some(json) = self.page_in_memory(room, asker.profile, page)? {
            outlet.result_raw(asker, &json);
            return Ok(());
        }
        let Some(store) = outlet.desk.store.clone() else {
            return Err(Rejection::NotFound);
        };
        let (room, asker) = (room.clone(), asker.clone());
        let refused = {
            let (asker, answer) = (asker.clone(), Err(Rejection::busy()));
            move || Mail(Letter::Answered { asker, answer })
        };
        let work = async move {
            let messages = page_in_store(&store, &room, asker.profile, page).await;
            let answer = messages.map(|messages| messages.to_json());
            Mail(Letter::Answered { asker, answer })
        };
        outlet.context.spawn(work, refused);
        Ok(())
    }

    /// `None`: the store must be asked.
    fn page_in_memory(
        &self,
        room: &Room,
        profile: Profile,
        page: Page,
    ) -> Result<Option<String>, Rejection> {
        let find = |mark: Option<Mark>| match mark {
            None => Ok(Some(None)),
            Some(Mark::Offset(offset)) => Ok(Some(Some(offset))),
            Some(Mark::Message(id)) => match self.window.rfind(|record| record.id == id) {
                Some((offset, _)) => Ok(Some(Some(offset))),
                None if self.storage.is_stored() => Ok(None),
                None => Err(Rejection::NotFound),
            },
        };
        let (Some(before), Some(after)) = (find(page.before)?, find(page.after)?) else {
            return Ok(None);
        };
        let is_whole = match after {
            Some(after) => self.window.is_complete_after(after),
            None => {
                let next = self.window.head() + 1;
                let oldest = self.window.oldest().unwrap_or(next);
                let end = before.map_or(next, |before| before.min(next));
                // One more than asked for says whether there is a next page.
                let reaches = end.saturating_sub(oldest) > page.limit as u64;
                reaches || self.window.is_complete_before(oldest)
            }
        };
        if self.storage.is_stored() && !is_whole {
            return Ok(None);
        }
        let limit = page.limit;
        let messages = match after {
            Some(after) => {
                let records = self.window.after(after, limit.saturating_add(1));
                let records =
                    records.filter(|(offset, _)| before.is_none_or(|before| *offset < before));
                let records: Vec<_> = records.collect();
                let has_more = records.len() > limit;
                Messages::new(
                    records.into_iter().take(limit),
                    (room, profile),
                    &page,
                    has_more,
                )
            }
            None => {
                let records: Vec<_> = self
                    .window
                    .before(before, limit.saturating_add(1))
                    .collect();
                let has_more = records.len() > limit;
                Messages::new(
                    records.into_iter().rev().take(limit),
                    (room, profile),
                    &page,
                    has_more,
                )
            }
        };
        Ok(Some(messages.to_json()))
    }
}

async fn page_in_store(
    store: &Store,
    room: &Room,
    profile: Profile,
    page: Page,
) -> Result<Messages, Rejection> {
    let before = find_in_store(store, room, page.before).await?;
    let after = find_in_store(store, room, page.after).await?;
    let limit = u32::try_from(page.limit).unwrap_or(u32::MAX);
    let asked = store::Page {
        before,
        after,
        limit: limit.saturating_add(1),
    };
    let reply = store
        .history(room.name(), asked)
        .map_err(|_| Rejection::busy())?;
    let stored = reply.await.map_err(|error| refusal(&error))?;
    let has_more = stored.len() > page.limit;
    let records = stored
        .into_iter()
        .filter_map(|stored| Some((stored.offset, Record::from_stored(stored)?)));
    let mut records: Vec<(u64, Record)> = records.collect();
    if page.after.is_none() {
        records.reverse();
    }
    let records = records
        .iter()
        .take(page.limit)
        .map(|(offset, record)| (*offset, record));
    Ok(Messages::new(records, (room, profile), &page, has_more))
}

async fn find_in_store(
    store: &Store,
    room: &Room,
    mark: Option<Mark>,
) -> Result<Option<u64>, Rejection> {
    match mark {
        None => Ok(None),
        Some(Mark::Offset(offset)) => Ok(Some(offset)),
        Some(Mark::Message(id)) => {
            let reply = store
                .find(room.name(), MessageId::as_u128(id))
                .map_err(|_| Rejection::busy())?;
            let found = reply.await.map_err(|error| refusal(&error))?;
            found.map(Some).ok_or(Rejection::NotFound)
        }
    }
}

fn refusal(error: &StoreError) -> Rejection {
    match error {
        StoreError::UnknownRoom => Rejection::NotFound,
        _ => Rejection::busy(),
    }
}
