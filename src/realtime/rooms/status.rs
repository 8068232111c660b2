//! What has become of one message: from memory, or from the store where memory ends.

use super::Room;
use super::delivery::Marks;
use super::room::RoomState;
use crate::id::UserId;
use crate::realtime::mail::{Asker, Letter, Mail};
use crate::realtime::outlet::Outlet;
use crate::realtime::protocol::{Fields, MessageId, Rejection, Status, Timestamp};
use crate::realtime::writing::text;
use crate::store::{Store, StoredStatus};

/// How far a message has come with those who are members now.
struct MessageStatus {
    message: MessageId,
    /// `None`: the server.
    sender: Option<UserId>,
    unix_ms: u64,
    /// Members besides the author.
    others: u64,
    /// How many of them have got it, those included who have read it.
    delivered: u64,
    /// How many of them have read it.
    read: u64,
    /// Each of them, unless they are too many to be named.
    named: Option<Vec<(UserId, Status)>>,
}

impl RoomState {
    /// Answers what has become of a message: who has got and read it of those who are members now, by name if
    /// they are few.
    ///
    /// Errors: [`Rejection::NotFound`]; [`Rejection::Forbidden`] to who is neither its author nor may do
    /// all in the room.
    pub(super) fn answer_status(
        &mut self,
        outlet: &mut Outlet<'_, '_>,
        room: &Room,
        (asker, is_master): (&Asker, bool),
        message: MessageId,
    ) -> Result<(), Rejection> {
        let named_max = outlet.desk.options.delivery.recipients_max;
        let in_memory = self.status_in_memory(message, named_max);
        if let Some(status) = in_memory.filter(|_| !self.storage.has_strangers()) {
            status.check(asker, is_master)?;
            outlet.result_raw(asker, &status.to_json(room));
            return Ok(());
        }
        let store = outlet.desk.store.clone();
        let Some(store) = store.filter(|_| self.storage.is_stored()) else {
            return Err(Rejection::NotFound);
        };
        // What the store does not know yet it is told before it is asked.
        self.store_marks(outlet, room);
        let (room, asker) = (room.clone(), asker.clone());
        let (who, refusal) = (asker.clone(), Err(Rejection::busy()));
        let work = async move {
            let status = status_in_store(&store, &room, message, named_max).await;
            let answer = status.and_then(|status| {
                status.check(&asker, is_master)?;
                Ok(status.to_json(&room))
            });
            Mail(Letter::Answered { asker, answer })
        };
        let refused = move || {
            let (asker, answer) = (who, refusal);
            Mail(Letter::Answered { asker, answer })
        };
        outlet.context.spawn(work, refused);
        Ok(())
    }

    fn status_in_memory(&self, message: MessageId, named_max: usize) -> Option<MessageStatus> {
        let (offset, record) = self.window.rfind(|record| record.id == message)?;
        let others = || {
            let all = self.members.iter();
            let others = all.filter(|(user, _)| Some(*user) != record.user.as_ref());
            others.map(|(user, seat)| (user, seat.marks.status(offset)))
        };
        let reached =
            |least: Status| others().filter(|(_, status)| *status >= least).count() as u64;
        let named = |(user, status): (&UserId, Status)| (user.clone(), status);
        let count = others().count();
        Some(MessageStatus {
            message,
            sender: record.user.clone(),
            unix_ms: record.unix_ms,
            others: count as u64,
            delivered: reached(Status::Delivered),
            read: reached(Status::Read),
            named: (count <= named_max).then(|| others().map(named).collect()),
        })
    }
}

async fn status_in_store(
    store: &Store,
    room: &Room,
    message: MessageId,
    named_max: usize,
) -> Result<MessageStatus, Rejection> {
    let named_max = u32::try_from(named_max).unwrap_or(u32::MAX);
    let asked = store.status(room.name(), message.as_u128(), named_max);
    let found = asked.map_err(|_| Rejection::busy())?.await;
    let found = found.map_err(|error| {
        tracing::warn!(%room, %error, "the status of a message cannot be read");
        Rejection::busy()
    })?;
    let stored = found.ok_or(Rejection::NotFound)?;
    Ok(MessageStatus::from_stored(message, stored))
}

impl MessageStatus {
    fn from_stored(message: MessageId, stored: StoredStatus) -> Self {
        let named = stored.members.map(|members| {
            let status = |delivered, read| Marks::restore(delivered, read).status(stored.offset);
            let named = members.into_iter().map(|member| {
                let status = status(member.delivered, member.read);
                (UserId::from(&*member.user), status)
            });
            named.collect()
        });
        let author = Some(&*stored.user).filter(|user| !user.is_empty());
        Self {
            message,
            sender: author.map(UserId::from),
            unix_ms: stored.unix_ms,
            others: stored.others,
            delivered: stored.delivered,
            read: stored.read,
            named,
        }
    }

    /// Errors: [`Rejection::Forbidden`] to who is neither the author nor may do all.
    fn check(&self, asker: &Asker, is_master: bool) -> Result<(), Rejection> {
        let may_know = is_master || self.sender.as_ref() == Some(&asker.user);
        may_know.then_some(()).ok_or(Rejection::Forbidden)
    }

    fn to_json(&self, room: &Room) -> String {
        let furthest = match (self.delivered, self.read) {
            (0, _) => Status::Sent,
            (_, 0) => Status::Delivered,
            _ => Status::Read,
        };
        let mut object = Vec::new();
        Fields::write(&mut object, |fields| {
            let fields = fields
                .message_id("message_id", self.message)
                .str("room_id", room.name())
                .optional_str("sender_id", self.sender.as_deref())
                .time("sent_at", &Timestamp::new(self.unix_ms))
                .str("status", furthest.as_str())
                .number("recipient_count", self.others)
                .number("delivered", self.delivered)
                .number("read", self.read);
            match &self.named {
                None => fields,
                Some(named) => fields.list("recipients", named, |item, (user, status)| {
                    item.str("recipient_id", user)
                        .str("status", status.as_str())
                }),
            }
        });
        text(&object).to_owned()
    }
}
