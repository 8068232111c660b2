//! An application that does what its clients say, so that each test reads as a conversation: every
//! member of the API has a command. It also keeps a diary of what happened to it.

use std::fmt::Write;
use std::str::FromStr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use campanile::http::Refusal;
use campanile::id::{ConnectionId, ShardId, Slot};
use campanile::shard::{Accept, Knock, Sent};
use campanile::ws::CloseCode;
use campanile::{App, Context, Message, Request, Socket, Upgrade};
use http::StatusCode;

use super::BOUND;

/// What happened to a connection, by the application's callbacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Opened,
    Closed {
        code: u16,
        reason: String,
    },
    Drained,
    Lagged {
        topic: String,
        missed_bytes: u64,
    },
    /// What became of a `/flood`, and `buffered_amount` after it.
    Flooded {
        written: usize,
        queued: usize,
        dropped: usize,
        buffered: usize,
    },
}

/// One line of the diary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) what: What,
    pub(crate) user: String,
    pub(crate) note: String,
    pub(crate) shard: u16,
}

/// What happened on all shards of a server. Clones are the same diary.
#[derive(Clone, Default)]
pub(crate) struct Diary(Arc<(Mutex<Vec<Entry>>, Condvar)>);

impl Diary {
    fn write(&self, entry: Entry) {
        let (entries, written) = &*self.0;
        entries.lock().expect("no writer panics").push(entry);
        written.notify_all();
    }

    /// All entries so far that `wanted` picks.
    pub(crate) fn entries(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let entries = self.0.0.lock().expect("no writer panics");
        entries
            .iter()
            .filter(|entry| wanted(entry))
            .cloned()
            .collect()
    }

    /// Waits for `count` entries that `wanted` picks.
    ///
    /// Panics after [`BOUND`].
    pub(crate) fn wait_for(&self, count: usize, wanted: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let (entries, written) = &*self.0;
        let entries = entries.lock().expect("no writer panics");
        let enough = |entries: &mut Vec<Entry>| entries.iter().filter(|e| wanted(e)).count();
        let (entries, _) = written
            .wait_timeout_while(entries, BOUND, |entries| enough(entries) < count)
            .expect("no writer panics");
        let found: Vec<_> = entries.iter().filter(|e| wanted(e)).cloned().collect();
        assert!(
            found.len() >= count,
            "{} of {count} entries: {found:?}",
            found.len()
        );
        found
    }

    /// Waits for the one entry of a user's close: code and reason.
    pub(crate) fn closed(&self, user: &str) -> (u16, String) {
        let entries = self.wait_for(1, |entry| {
            entry.user == user && matches!(entry.what, What::Closed { .. })
        });
        assert_eq!(entries.len(), 1, "close is called once: {entries:?}");
        match &entries[0].what {
            What::Closed { code, reason } => (*code, reason.clone()),
            other => unreachable!("filtered: {other:?}"),
        }
    }
}

/// Something to tell a connection.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) to: ConnectionId,
    pub(crate) text: String,
}

/// What puppets mail each other.
#[derive(Debug)]
pub(crate) enum Letter {
    Said(Said),
    /// A handshake, to the home of its note.
    Knock(Box<Knock<String>>),
}

impl From<Said> for Letter {
    fn from(said: Said) -> Self {
        Self::Said(said)
    }
}

/// The application.
pub(crate) struct Puppet {
    diary: Diary,
}

impl Puppet {
    pub(crate) fn new(diary: &Diary) -> Self {
        Self {
            diary: diary.clone(),
        }
    }

    fn note(&self, socket: &mut Socket<'_, Self>, what: What) {
        self.diary.write(Entry {
            what,
            user: socket.user().to_string(),
            note: socket.data().clone(),
            shard: socket.context().shard().0,
        });
    }

    fn flood(&self, socket: &mut Socket<'_, Self>, count: usize, bytes: usize) {
        let (mut written, mut queued, mut dropped) = (0, 0, 0);
        let mut payload = vec![0; bytes];
        for number in 0..count {
            payload[..8].copy_from_slice(&(number as u64).to_be_bytes());
            match socket.send(&payload[..]) {
                Sent::Written(sent) => {
                    assert!(sent > bytes, "the header counts");
                    written += 1;
                }
                Sent::Queued(waiting) => {
                    assert_eq!(waiting, socket.buffered_amount());
                    queued += 1;
                }
                Sent::Dropped(_) => dropped += 1,
            }
        }
        let buffered = socket.buffered_amount();
        self.note(
            socket,
            What::Flooded {
                written,
                queued,
                dropped,
                buffered,
            },
        );
    }

    /// Carries out a command. The answer, if there is one, goes to the client.
    fn obey(&self, socket: &mut Socket<'_, Self>, line: &str) -> Option<String> {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (first, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let id = socket.id();
        match command {
            "/subscribe" => return Some(format!("{:?}", socket.subscribe(rest))),
            "/unsubscribe" => return Some(socket.unsubscribe(rest).to_string()),
            "/is_subscribed" => return Some(socket.is_subscribed(rest).to_string()),
            "/subscriptions" => {
                let mut topics: Vec<&str> = socket.subscriptions().collect();
                topics.sort_unstable();
                return Some(topics.join(","));
            }
            "/publish" => socket.publish(first, text),
            "/publish_to_all" => socket.context().publish(first, text, None),
            "/publish_to_others" => socket.context().publish(first, text, Some(id)),
            "/broadcast" => socket.context().broadcast(rest, None),
            "/broadcast_to_others" => socket.context().broadcast(rest, Some(id)),
            "/send_to_user" => socket.context().send_to_user(first, text),
            "/send" => socket.context().send(identifier(first), text),
            "/close_other" => socket
                .context()
                .close(identifier(first), close_code(4321), text),
            "/mail" => {
                let text = text.to_owned();
                let said = Said { to: id, text };
                socket.context().mail(ShardId(number(first)), said.into());
            }
            "/spawn" => {
                let (ms, text) = (number(first), text.to_owned());
                let work = async move {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    Said { to: id, text }.into()
                };
                let refused = move || {
                    let text = "refused".into();
                    Said { to: id, text }.into()
                };
                socket.context().spawn(work, refused);
            }
            "/user" => return Some(socket.user().to_string()),
            "/id" => return Some(id.as_u64().to_string()),
            "/data" => return Some(socket.data().clone()),
            "/set_data" => rest.clone_into(socket.data_mut()),
            "/remote_address" => return Some(socket.remote_address().to_string()),
            "/is_open" => return Some(socket.is_open().to_string()),
            "/buffered_amount" => return Some(socket.buffered_amount().to_string()),
            "/shard" => return Some(socket.context().shard().to_string()),
            "/shards" => return Some(socket.context().shards().to_string()),
            "/home" => return Some(socket.context().home(rest).to_string()),
            "/counts" => return Some(counts(&socket.context(), rest)),
            "/ping" => socket.ping(rest.as_bytes()),
            "/close" => {
                socket.close(close_code(number(first)), text);
                let sent = socket.send("too late");
                assert_eq!(sent, Sent::Dropped(campanile::shard::Dropped::Closed));
                assert!(!socket.is_open());
            }
            "/terminate" => socket.terminate(),
            "/flood" => self.flood(socket, number(first), number(text)),
            unknown => return Some(format!("no such command: {unknown}")),
        }
        None
    }
}

/// Connections, users, connections of `user` and pending connections of a shard.
fn counts(context: &Context<'_, Puppet>, user: &str) -> String {
    format!(
        "{} {} {} {}",
        context.connection_count(),
        context.user_count(),
        context.user_connection_count(user),
        context.pending_count()
    )
}

impl App for Puppet {
    type Data = String;
    type Mail = Letter;

    /// The query says what is to happen: `user`, `note` (the data), `refuse`, `defer`,
    /// `defer_refuse` (milliseconds, or `for_ever`), `knock`, `subprotocol`, `header`, `bytes_max`.
    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<String> {
        let parameter = |name| {
            let value = request.head().query_param(name).expect("a correct query");
            value.map(|value| value.into_owned())
        };
        if let Some(status) = parameter("refuse") {
            return refusal(number(&status)).into();
        }
        let accept = Accept {
            user: parameter("user"),
            data: parameter("note").unwrap_or_default(),
            subprotocol: parameter("subprotocol"),
            headers: parameter("header")
                .map(|value| ("x-puppet".to_owned(), value))
                .into_iter()
                .collect(),
            message_bytes_max: parameter("bytes_max").map(|bytes| number(&bytes)),
            knocks: parameter("knock").is_some(),
            ..Accept::default()
        };
        let answer = match (parameter("defer"), parameter("defer_refuse")) {
            (None, None) => return accept.into(),
            (Some(wait), _) => (wait, Ok(accept)),
            (None, Some(wait)) => (wait, Err(refusal(403))),
        };
        Upgrade::Defer(Box::pin(async move {
            let (wait, answer) = answer;
            if wait == "for_ever" {
                return std::future::pending().await;
            }
            tokio::time::sleep(Duration::from_millis(number(&wait))).await;
            answer
        }))
    }

    /// The home of the note is asked.
    fn knocked(&mut self, context: &mut Context<'_, Self>, knock: Knock<String>) {
        let home = context.home(&knock.accept.data);
        context.mail(home, Letter::Knock(Box::new(knock)));
    }

    fn open(&mut self, socket: &mut Socket<'_, Self>) {
        self.note(socket, What::Opened);
    }

    fn message(&mut self, socket: &mut Socket<'_, Self>, message: Message<'_>) {
        match message {
            Message::Text(line) if line.starts_with('/') => {
                if let Some(answer) = self.obey(socket, line) {
                    let _ = socket.send(answer.as_str());
                }
            }
            other => {
                let _ = socket.send(other);
            }
        }
    }

    fn drain(&mut self, socket: &mut Socket<'_, Self>) {
        self.note(socket, What::Drained);
    }

    fn lagged(&mut self, socket: &mut Socket<'_, Self>, topic: &str, missed_bytes: u64) {
        let topic = topic.to_owned();
        self.note(
            socket,
            What::Lagged {
                topic,
                missed_bytes,
            },
        );
    }

    fn close(&mut self, socket: &mut Socket<'_, Self>, code: CloseCode, reason: &str) {
        assert!(!socket.is_open());
        assert_eq!(socket.subscriptions().count(), 0);
        self.note(
            socket,
            What::Closed {
                code: code.as_u16(),
                reason: reason.to_owned(),
            },
        );
    }

    fn mail(&mut self, context: &mut Context<'_, Self>, mail: Letter) {
        match mail {
            Letter::Said(Said { to, mut text }) => {
                let _ = write!(text, " by shard {}", context.shard());
                context.send(to, text.as_str());
            }
            Letter::Knock(knock) if knock.accept.data.starts_with("shut") => {
                context.refuse(*knock, refusal(409));
            }
            Letter::Knock(knock) => context.admit(*knock),
        }
    }
}

fn refusal(status: u16) -> Refusal {
    let status = StatusCode::from_u16(status).expect("a status");
    Refusal::new(status, "no_entry", "the puppet was told to refuse")
        .header("x-puppet", "refused")
        .expect("a plain header field")
}

fn number<T: FromStr>(text: &str) -> T {
    match text.parse() {
        Ok(number) => number,
        Err(_) => panic!("{text:?} is not a number"),
    }
}

fn close_code(number: u16) -> CloseCode {
    CloseCode::new(number).expect("a close code")
}

/// The identifier that `/id` printed.
pub(crate) fn identifier(text: &str) -> ConnectionId {
    let packed: u64 = number(text);
    let part = |shift: u32| u32::try_from(packed >> shift & 0xFF_FFFF).expect("24 bits");
    let shard = u16::try_from(packed >> 48).expect("16 bits");
    let id = ConnectionId::new(ShardId(shard), Slot(part(0)), part(24));
    assert_eq!(id.as_u64(), packed);
    id
}
