//! A message type of one's own: polls. Somebody in a room opens one, everybody in it has a vote, and
//! who has opened it closes it. The result is posted to an HTTP service, here a page of the same server.
//!
//! ```text
//! → {"type":"poll","action":"open","question":"Lunch?","options":["soup","salad"]}
//! → {"type":"poll","action":"vote","option":1}
//! → {"type":"poll","action":"close"}
//! ← {"type":"poll","status":"closed","question":"Lunch?","votes":[0,1],..}     to all in the room
//! ```
//!
//! `cargo run --release --example custom_handler -- --listen 127.0.0.1:9001 --shards 1`, then
//! `ws://127.0.0.1:9001/ws` and `http://127.0.0.1:9001/results`. How it is put together, and how to test
//! it: docs/HANDLERS.md.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use campanile::id::UserId;
use campanile::realtime::protocol::{Fields, Message, Rejection};
use campanile::realtime::{
    Ctx, Exclude, Handler, HandlerError, Realtime, RealtimeOptions, RoomCtx,
};
use campanile::{Server, StartError};
use serde::{Deserialize, Serialize};

const OPTIONS_MAX: usize = 20;
const TEXT_BYTES_MAX: usize = 200;
/// Results that the page keeps.
const RESULTS_MAX: usize = 100;

/// What a client asks for.
#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
enum Request {
    Open {
        question: String,
        options: Vec<String>,
    },
    Vote {
        option: usize,
    },
    Close,
}

impl Request {
    fn check(&self) -> Result<(), Rejection> {
        let Self::Open { question, options } = self else {
            return Ok(());
        };
        let is_text = |text: &String| (1..=TEXT_BYTES_MAX).contains(&text.len());
        if !is_text(question) {
            return Err(Rejection::InvalidMember("question".into()));
        }
        if !(2..=OPTIONS_MAX).contains(&options.len()) || !options.iter().all(is_text) {
            return Err(Rejection::InvalidMember("options".into()));
        }
        Ok(())
    }
}

/// A poll under way. It is kept with its room, at the room's home: all shards vote in the same one.
struct Poll {
    question: String,
    options: Vec<String>,
    opened_by: UserId,
    /// Each user's last vote counts.
    votes: BTreeMap<UserId, usize>,
}

impl Poll {
    fn counts(&self) -> Vec<u64> {
        let mut counts = vec![0; self.options.len()];
        for option in self.votes.values() {
            counts[*option] += 1;
        }
        counts
    }

    fn write<'f>(&self, fields: Fields<'f>, status: &str) -> Fields<'f> {
        fields
            .str("status", status)
            .str("question", &self.question)
            .strings("options", self.options.iter().map(String::as_str))
            .serialize("votes", &self.counts())
    }
}

/// What is posted when a poll is closed.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct PollResult {
    room: String,
    question: String,
    votes: Vec<u64>,
}

/// Handles `poll`.
struct Polls {
    /// Takes results as JSON.
    results_url: String,
    http: reqwest::Client,
}

impl Handler for Polls {
    fn message_type(&self) -> &str {
        "poll"
    }

    fn handle(&mut self, ctx: &mut Ctx<'_>, message: &Message<'_>) -> Result<(), HandlerError> {
        let request: Request = message.deserialize()?;
        request.check()?;
        let room = ctx.room(message)?;
        let (url, http) = (self.results_url.clone(), self.http.clone());
        ctx.in_room(&room, move |room| match request {
            Request::Open { question, options } => open(room, question, options),
            Request::Vote { option } => vote(room, option),
            Request::Close => close(room, url, &http),
        });
        Ok(())
    }
}

fn open(
    room: &mut RoomCtx<'_, '_, '_>,
    question: String,
    options: Vec<String>,
) -> Result<(), HandlerError> {
    if room.data::<Option<Poll>>().is_some() {
        return Err(Rejection::AlreadyExists.into());
    }
    let poll = Poll {
        question,
        options,
        opened_by: room.user().clone(),
        votes: BTreeMap::new(),
    };
    // A message like any other: who comes later finds it in the room's history.
    room.publish("poll", Exclude::None, |fields| poll.write(fields, "open"));
    *room.data() = Some(poll);
    Ok(())
}

fn vote(room: &mut RoomCtx<'_, '_, '_>, option: usize) -> Result<(), HandlerError> {
    let user = room.user().clone();
    if !room.is_member(&user) {
        return Err(Rejection::NotSubscribed.into());
    }
    let poll = room
        .data::<Option<Poll>>()
        .as_mut()
        .ok_or(Rejection::NotFound)?;
    if option >= poll.options.len() {
        return Err(Rejection::InvalidMember("option".into()).into());
    }
    poll.votes.insert(user, option);
    // Told now and never again: the next vote makes it old news.
    let counts = poll.counts();
    room.publish_ephemeral("poll", Exclude::None, |fields| {
        fields.str("status", "open").serialize("votes", &counts)
    });
    Ok(())
}

fn close(
    room: &mut RoomCtx<'_, '_, '_>,
    url: String,
    http: &reqwest::Client,
) -> Result<(), HandlerError> {
    let user = room.user().clone();
    let poll = room.data::<Option<Poll>>();
    match poll {
        None => return Err(Rejection::NotFound.into()),
        Some(poll) if poll.opened_by != user => return Err(Rejection::Forbidden.into()),
        Some(_) => {}
    }
    let poll = poll.take().ok_or(Rejection::NotFound)?;
    room.publish("poll", Exclude::None, |fields| poll.write(fields, "closed"));
    let result = PollResult {
        room: room.room().name().to_owned(),
        question: poll.question.clone(),
        votes: poll.counts(),
    };
    // A shard must not wait for a network: this runs elsewhere and comes back.
    let request = http.post(url).json(&result);
    let posted = async move { request.send().await?.error_for_status() };
    room.spawn(posted, |room, posted| {
        // The failure is for the log; the peer is told `handler_error`.
        posted?;
        room.reply("poll", |fields| fields.str("status", "posted"));
        Ok(())
    });
    Ok(())
}

type Results = Arc<Mutex<Vec<PollResult>>>;

/// The HTTP service: keeps what is posted, and shows it.
fn results_page() -> Router {
    async fn show(State(results): State<Results>) -> Json<Vec<PollResult>> {
        Json(
            results
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        )
    }
    async fn keep(State(results): State<Results>, Json(result): Json<PollResult>) {
        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
        if results.len() == RESULTS_MAX {
            results.remove(0);
        }
        results.push(result);
    }
    Router::new()
        .route("/results", get(show).post(keep))
        .with_state(Results::default())
}

fn polls(listen: &str) -> Polls {
    Polls {
        results_url: format!("http://{listen}/results"),
        http: reqwest::Client::new(),
    }
}

fn main() -> Result<(), StartError> {
    let (listen, shards) = arguments::parse();
    let address = listen.clone();
    Server::new(move |_shard| Realtime::new(RealtimeOptions::default()).with(polls(&address)))
        .router(results_page())
        .listen(listen)
        .shards(shards)
        .run()
}

#[path = "support/arguments.rs"]
#[expect(dead_code, reason = "the other examples set options, too")]
mod arguments;

#[cfg(test)]
mod tests {
    use campanile::testing::TestServer;
    use serde_json::json;

    use super::*;

    fn server() -> TestServer {
        // Nobody listens there: what is posted fails.
        TestServer::builder()
            .handler(|| polls("127.0.0.1:1"))
            .start()
    }

    #[test]
    fn every_member_has_one_vote_on_whatever_shard() {
        let server = server();
        let users = ["ann", "bob", "cid"].map(|user| server.connect(user));
        server.forget();
        let options = ["soup", "salad"];
        users[0].send(
            json!({"type": "poll", "action": "open", "question": "Lunch?", "options": options}),
        );
        for user in &users {
            assert_eq!(user.expect("poll")["status"], "open");
        }
        for (user, option) in [(0, 0), (1, 1), (2, 1), (0, 1)] {
            users[user].send(json!({"type": "poll", "action": "vote", "option": option}));
        }
        server.forget();
        users[0].send(json!({"type": "poll", "action": "close"}));
        let told = users[1].expect("poll");
        assert_eq!(
            (&told["status"], &told["votes"]),
            (&json!("closed"), &json!([0, 3]))
        );
        // The service cannot be reached.
        assert_eq!(users[0].expect("error")["code"], "handler_error");
        server.end();
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let server = server();
        let (ann, bob) = (server.connect("ann"), server.connect("bob"));
        server.forget();
        let open =
            json!({"type": "poll", "action": "open", "question": "?", "options": ["a", "b"]});
        let table = [
            (&ann, json!({"type": "poll"}), "invalid_message"),
            (
                &ann,
                json!({"type": "poll", "action": "vote", "option": 0}),
                "not_found",
            ),
            (
                &ann,
                json!({"type": "poll", "action": "open", "question": "?", "options": ["a"]}),
                "invalid_message",
            ),
            (&ann, open.clone(), ""),
            (&bob, open, "already_exists"),
            (
                &bob,
                json!({"type": "poll", "action": "vote", "option": 2}),
                "invalid_message",
            ),
            (
                &bob,
                json!({"type": "poll", "action": "close"}),
                "forbidden",
            ),
        ];
        for (who, message, code) in table {
            server.forget();
            who.send(message.clone());
            if !code.is_empty() {
                assert_eq!(who.expect("error")["code"], code, "{message}");
            }
        }
        server.end();
    }
}
