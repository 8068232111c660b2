//! The application under test: does what clients tell it, and tells the oracle what it did.

use std::collections::BTreeMap;
use std::future::{pending, ready};

use ::http::StatusCode;

use super::Fault;
use super::command::Command;
use super::oracle::{Channel, EVERYBODY, SharedOracle, Target, Topic};
use super::payload;
use crate::http::Refusal;
use crate::id::{ConnectionId, ShardId};
use crate::shard::{
    Accept, App, Context, Encode, Format, Formats, Knock, Message, Request, Sent, Socket,
    Subscribed, Upgrade,
};
use crate::ws::{CloseCode, Opcode};

/// What the application keeps with a connection.
#[derive(Debug, Default)]
pub(super) struct Data {
    /// The client's number.
    client: usize,
    compressed: bool,
    /// What is said to it if it knocks.
    word: Word,
}

/// What is said to a handshake that knocks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Word {
    #[default]
    Yes,
    No,
    Nothing,
}

/// What instances on different shards say to each other.
#[derive(Debug)]
pub(super) enum AppMail {
    /// The `sequence`th mail from one shard to another; publishes something.
    Numbered {
        from: ShardId,
        sequence: u64,
        topic: Topic,
        bytes: usize,
    },
    /// Somebody on the shard `from` wants to join a topic whose home is here.
    Join {
        from: ShardId,
        id: ConnectionId,
        client: usize,
        topic: Topic,
    },
    /// The answer of the topic's home, which had published `next` messages when it was given.
    Joined {
        home: ShardId,
        id: ConnectionId,
        client: usize,
        topic: Topic,
        next: usize,
    },
    /// Work on the service thread is done; sends something to whoever asked for it.
    Spawned { to: ConnectionId, bytes: usize },
    /// A handshake knocks, at a shard drawn by lot.
    Knock(Box<Knock<Data>>),
}

/// One instance per shard.
#[derive(Debug)]
pub(super) struct TestApp {
    oracle: SharedOracle,
    fault: Option<Fault>,
    mails_to: BTreeMap<ShardId, u64>,
    mails_from: BTreeMap<ShardId, u64>,
}

/// The name of a topic that is not everybody's.
pub(super) fn name_of(topic: Topic) -> String {
    assert_ne!(topic, EVERYBODY);
    format!("topic-{topic}")
}

/// A topic by its name on the wire between shards.
pub(super) fn topic_of(name: &str) -> Topic {
    match name.strip_prefix("topic-") {
        Some(number) => number.parse().expect("topics have numbers"),
        None => EVERYBODY,
    }
}

fn message(opcode: Opcode, payload: &[u8]) -> Message<'_> {
    match opcode {
        Opcode::Text => Message::Text(std::str::from_utf8(payload).expect("text is ASCII")),
        _ => Message::Binary(payload),
    }
}

/// A topic's message that differs from format to format.
struct Writings {
    id: usize,
    opcode: Opcode,
    /// With room for the mark at its end.
    payload: Vec<u8>,
    asked: Formats,
}

impl Writings {
    fn new(id: usize, opcode: Opcode, mut payload: Vec<u8>) -> Self {
        payload.push(0);
        Self {
            id,
            opcode,
            payload,
            asked: Formats::NONE,
        }
    }
}

impl Encode for Writings {
    fn encode(&mut self, format: Format) -> Option<Message<'_>> {
        assert!(
            !self.asked.contains(format),
            "{format:?} is asked for twice"
        );
        self.asked = self.asked.union(format.into());
        *self.payload.last_mut()? = payload::mark_of(format);
        let is_for = payload::formats_of(self.id).contains(format);
        is_for.then_some(message(self.opcode, &self.payload))
    }
}

fn private_code(number: u16) -> CloseCode {
    CloseCode::new(number).expect("codes from 4000 on are the application's")
}

impl TestApp {
    pub(super) fn new(oracle: SharedOracle, fault: Option<Fault>) -> Self {
        Self {
            oracle,
            fault,
            mails_to: BTreeMap::new(),
            mails_from: BTreeMap::new(),
        }
    }

    /// Publishes on the shard of `context`.
    pub(super) fn publish(
        &self,
        context: &mut Context<'_, Self>,
        topic: Topic,
        bytes: usize,
        exclude: Option<ConnectionId>,
    ) {
        let shard = context.shard();
        self.tell_of_closing(context);
        let (id, opcode, payload) = {
            let mut oracle = self.oracle.borrow_mut();
            let composed = oracle.compose(Channel::Topic(topic), bytes);
            oracle.published(shard, topic, composed.0, exclude);
            composed
        };
        let exclude = exclude.filter(|_| self.fault != Some(Fault::ForgetExclude));
        if payload::is_encoded(id) {
            let mut writings = Writings::new(id, opcode, payload);
            return match topic {
                EVERYBODY => context.broadcast_encoded(&mut writings, exclude),
                topic => context.publish_encoded(&name_of(topic), &mut writings, exclude),
            };
        }
        match topic {
            EVERYBODY => context.broadcast(message(opcode, &payload), exclude),
            topic => context.publish(&name_of(topic), message(opcode, &payload), exclude),
        }
    }

    /// Tells the oracle which connections are closing: `close` is called after the callback in
    /// which, or in whose turn, the close began, and other callbacks may come in between.
    fn tell_of_closing(&self, context: &mut Context<'_, Self>) {
        let open = self.oracle.borrow().open_on(context.shard());
        for id in open {
            if context.socket(id).is_none() {
                self.oracle.borrow_mut().closing(id);
            }
        }
    }

    /// Replies to one connection.
    fn reply(&self, socket: &mut Socket<'_, Self>, bytes: usize) {
        let composed = self.oracle.borrow_mut().compose(Channel::Private, bytes);
        self.reply_with(socket, composed);
    }

    fn reply_with(&self, socket: &mut Socket<'_, Self>, composed: (usize, Opcode, Vec<u8>)) {
        let (id, opcode, payload) = composed;
        let client = socket.data().client;
        if let Sent::Written(_) | Sent::Queued(_) = socket.send(message(opcode, &payload)) {
            self.oracle.borrow_mut().sent(client, id);
        }
    }

    fn send_to(&self, context: &mut Context<'_, Self>, target: Target<'_>, bytes: usize) {
        self.tell_of_closing(context);
        let home = match target {
            Target::User(user) => context.home(user),
            Target::Connection(id) => id.shard(),
        };
        let (opcode, payload) = {
            let mut oracle = self.oracle.borrow_mut();
            let (id, opcode, payload) = oracle.compose(Channel::Private, bytes);
            if home == context.shard() {
                oracle.sent_to(home, &target, id);
            } else {
                oracle.mail_posted();
            }
            (opcode, payload)
        };
        match target {
            Target::User(user) => context.send_to_user(user, message(opcode, &payload)),
            Target::Connection(id) => context.send(id, message(opcode, &payload)),
        }
    }

    fn subscribe(&self, socket: &mut Socket<'_, Self>, topic: Topic) {
        let client = socket.data().client;
        let (was, count) = {
            let oracle = self.oracle.borrow();
            (
                oracle.is_subscribed(client, topic),
                oracle.subscription_count(client),
            )
        };
        // Whoever is subscribed stays so in the format that was asked for first.
        let format = match was {
            false => payload::format_of(client, topic),
            true => Format(Format::COUNT - 1),
        };
        match socket.subscribe_as(&name_of(topic), format) {
            Subscribed::New => self.oracle.borrow_mut().subscribed(client, topic),
            Subscribed::Already => assert!(was),
            Subscribed::TooMany => {
                assert!(!was);
                assert_eq!(count, self.oracle.borrow().subscriptions_max());
            }
            other @ (Subscribed::BadTopic | Subscribed::Closed) => panic!("{other:?}"),
        }
        self.check_subscriptions(socket);
    }

    /// Subscribes by way of the topic's home: exactly what the home publishes after its answer.
    fn join(&self, socket: &mut Socket<'_, Self>, topic: Topic) {
        let (id, client) = (socket.id(), socket.data().client);
        let context = &mut socket.context();
        let (home, here) = (context.home(&name_of(topic)), context.shard());
        if home == here {
            let next = self.oracle.borrow().published_count(home, topic);
            return self.joined(context, (id, client), topic, (home, next));
        }
        if self.fault != Some(Fault::ForgetHold) {
            context.hold(&name_of(topic), payload::format_of(client, topic));
        }
        self.oracle.borrow_mut().mail_posted();
        let mail = AppMail::Join {
            from: here,
            id,
            client,
            topic,
        };
        context.mail(home, mail);
    }

    /// A topic's home lets somebody join, between two messages.
    fn let_join(
        &self,
        context: &mut Context<'_, Self>,
        from: ShardId,
        (id, client): (ConnectionId, usize),
        topic: Topic,
    ) {
        self.publish(context, topic, 10, None);
        let home = context.shard();
        let mail = AppMail::Joined {
            home,
            id,
            client,
            topic,
            next: self.oracle.borrow().published_count(home, topic),
        };
        self.oracle.borrow_mut().mail_posted();
        match self.fault {
            Some(Fault::JoinOutOfOrder) => context.mail(from, mail),
            _ => context.mail_in_order(from, &name_of(topic), mail),
        }
        self.publish(context, topic, 10, None);
    }

    /// The home of a topic has let somebody join who may be gone by now, or subscribed.
    fn joined(
        &self,
        context: &mut Context<'_, Self>,
        (id, client): (ConnectionId, usize),
        topic: Topic,
        (home, next): (ShardId, usize),
    ) {
        let format = payload::format_of(client, topic);
        let subscribed = context
            .socket(id)
            .map(|mut socket| socket.subscribe_as(&name_of(topic), format));
        if subscribed == Some(Subscribed::New) {
            self.oracle.borrow_mut().joined(client, topic, home, next);
        }
    }

    fn unsubscribe(&self, socket: &mut Socket<'_, Self>, topic: Topic) {
        let client = socket.data().client;
        let was = self.oracle.borrow().is_subscribed(client, topic);
        assert_eq!(socket.unsubscribe(&name_of(topic)), was);
        if was {
            self.oracle.borrow_mut().unsubscribed(client, topic);
            let composed = self.oracle.borrow_mut().compose_end(client, topic);
            self.reply_with(socket, composed);
        }
        self.check_subscriptions(socket);
    }

    fn check_subscriptions(&self, socket: &Socket<'_, Self>) {
        if socket.is_open() {
            let oracle = self.oracle.borrow();
            let client = socket.data().client;
            assert_eq!(
                socket.subscriptions().count(),
                oracle.subscription_count(client)
            );
            let right = |name: &str| oracle.is_subscribed(client, topic_of(name));
            assert!(socket.subscriptions().all(right));
        }
    }

    fn obey(&mut self, socket: &mut Socket<'_, Self>, command: Command) {
        match command {
            Command::Subscribe(topic) => self.subscribe(socket, topic),
            Command::Join(topic) => self.join(socket, topic),
            Command::Unsubscribe(topic) => self.unsubscribe(socket, topic),
            Command::Publish {
                topic,
                bytes,
                count,
            } => {
                for _ in 0..count {
                    self.publish_from(socket, topic, bytes);
                }
            }
            Command::PublishToAll { topic, bytes } => {
                self.publish(&mut socket.context(), topic, bytes, None);
            }
            Command::Alternate { topic, count } => {
                for _ in 0..count {
                    self.publish_from(socket, topic, 10);
                    self.publish(&mut socket.context(), topic, 10, None);
                }
            }
            Command::Reply { bytes, count } => (0..count).for_each(|_| self.reply(socket, bytes)),
            Command::ToUser { user, bytes } => {
                self.send_to(&mut socket.context(), Target::User(&user), bytes);
            }
            Command::ToClient { client, bytes } => {
                if let Some(id) = self.known(client) {
                    self.send_to(&mut socket.context(), Target::Connection(id), bytes);
                }
            }
            Command::CloseClient { client } => {
                if let Some(id) = self.known(client) {
                    let context = &mut socket.context();
                    if id.shard() != context.shard() {
                        self.oracle.borrow_mut().mail_posted();
                    }
                    context.close(id, private_code(4001), "another asked for it");
                }
            }
            Command::Close => socket.close(private_code(4000), "as you wish"),
            Command::CloseSilently => socket.close(CloseCode::NO_STATUS, ""),
            Command::Terminate => socket.terminate(),
            Command::Ping => socket.ping(b"are you there?"),
            Command::Prove(proof) => {
                let client = socket.data().client;
                let token = self.oracle.borrow_mut().barrier(client, proof);
                socket.barrier(token, proof);
            }
            Command::Spawn { bytes } => {
                let to = socket.id();
                // Where the service thread has no room the answer is the same, at once.
                let answer = move || AppMail::Spawned { to, bytes };
                socket.context().spawn(async move { answer() }, answer);
            }
            Command::Mail {
                shard,
                topic,
                bytes,
            } => self.mail_shard(socket, shard, topic, bytes),
        }
    }

    /// Publishes as [`Socket::publish`] does.
    fn publish_from(&self, socket: &mut Socket<'_, Self>, topic: Topic, bytes: usize) {
        let options_exclude = !self.oracle.borrow().publishes_to_self();
        let exclude = options_exclude.then(|| socket.id());
        if topic == EVERYBODY || self.fault == Some(Fault::ForgetExclude) {
            return self.publish(&mut socket.context(), topic, bytes, exclude);
        }
        let shard = socket.context().shard();
        self.tell_of_closing(&mut socket.context());
        let (id, opcode, payload) = {
            let mut oracle = self.oracle.borrow_mut();
            let composed = oracle.compose(Channel::Topic(topic), bytes);
            oracle.published(shard, topic, composed.0, exclude);
            composed
        };
        if payload::is_encoded(id) {
            let mut writings = Writings::new(id, opcode, payload);
            let context = &mut socket.context();
            return context.publish_encoded(&name_of(topic), &mut writings, exclude);
        }
        socket.publish(&name_of(topic), message(opcode, &payload));
    }

    fn mail_shard(
        &mut self,
        socket: &mut Socket<'_, Self>,
        shard: usize,
        topic: Topic,
        bytes: usize,
    ) {
        let context = &mut socket.context();
        let from = context.shard();
        let to = ShardId(u16::try_from(shard).expect("few shards") % context.shards());
        let sequence = self.mails_to.entry(to).or_default();
        *sequence += 1;
        if to != from {
            self.oracle.borrow_mut().mail_posted();
        }
        let mail = AppMail::Numbered {
            from,
            sequence: *sequence,
            topic,
            bytes,
        };
        context.mail(to, mail);
    }

    fn known(&self, client: usize) -> Option<ConnectionId> {
        self.oracle.borrow().connection(client)
    }
}

impl App for TestApp {
    type Data = Data;
    type Mail = AppMail;

    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<Data> {
        let head = request.head();
        let parameter = |name| head.query_param(name).expect("clients send sound queries");
        let client = parameter("client").expect("every client says who it is");
        let client: usize = client.parse().expect("clients are numbers");
        assert_eq!(
            usize::from(request.remote_address().port()),
            client % 65_536
        );
        let mut accept = Accept::new(Data {
            client,
            compressed: head.header("sec-websocket-extensions").is_some(),
            word: Word::default(),
        });
        accept.user = parameter("user").map(String::from);
        accept.format = payload::format_of(client, EVERYBODY);
        let mode = parameter("mode");
        let (mode, word) = match mode.as_deref() {
            Some("knock") => (None, Some(Word::Yes)),
            Some("defer-knock") => (Some("defer"), Some(Word::Yes)),
            Some("knock-refuse") => (None, Some(Word::No)),
            Some("knock-never") => (None, Some(Word::Nothing)),
            mode => (mode, None),
        };
        accept.knocks = word.is_some();
        accept.data.word = word.unwrap_or_default();
        match mode {
            None => accept.into(),
            Some("refuse") => refusal().into(),
            Some("defer") => Upgrade::Defer(Box::pin(ready(Ok(accept)))),
            Some("defer-refuse") => Upgrade::Defer(Box::pin(ready(Err(refusal())))),
            Some("defer-never") => Upgrade::Defer(Box::pin(pending())),
            Some(other) => panic!("no mode {other}"),
        }
    }

    fn knocked(&mut self, context: &mut Context<'_, Self>, knock: Knock<Data>) {
        let shards = u64::from(context.shards());
        let drawn = u16::try_from(context.random() % shards).expect("fewer than a u16 holds");
        context.mail(ShardId(drawn), AppMail::Knock(Box::new(knock)));
    }

    fn open(&mut self, socket: &mut Socket<'_, Self>) {
        let (id, user) = (socket.id(), socket.user().clone());
        let Data {
            client, compressed, ..
        } = *socket.data();
        assert_eq!(socket.context().home(&user), socket.context().shard());
        let youngest = socket.context().connections_of(&user).last().copied();
        assert_eq!(youngest, Some(id));
        self.oracle
            .borrow_mut()
            .opened(client, id, &user, compressed);
        if client.is_multiple_of(4) {
            socket.ping(b"hello");
        }
        self.reply(socket, 20);
        if client.is_multiple_of(3) {
            self.subscribe(socket, 1);
        }
    }

    fn message(&mut self, socket: &mut Socket<'_, Self>, message: Message<'_>) {
        let (client, shard) = (socket.data().client, socket.context().shard());
        let (sequence, command) = Command::decode(message.as_bytes());
        self.oracle.borrow_mut().heard(client, shard, sequence);
        self.obey(socket, command);
    }

    fn drain(&mut self, socket: &mut Socket<'_, Self>) {
        self.reply(socket, 10);
    }

    fn lagged(&mut self, socket: &mut Socket<'_, Self>, topic: &str, missed_bytes: u64) {
        let client = socket.data().client;
        self.oracle
            .borrow_mut()
            .lagged(client, topic_of(topic), missed_bytes);
        self.reply(socket, 10);
    }

    fn passed(&mut self, socket: &mut Socket<'_, Self>, token: u64) {
        let client = socket.data().client;
        assert!(socket.is_open());
        self.oracle.borrow_mut().passed(client, token);
        if client.is_multiple_of(2) {
            self.reply(socket, 10);
        }
    }

    fn close(&mut self, socket: &mut Socket<'_, Self>, code: CloseCode, _reason: &str) {
        let client = socket.data().client;
        assert!(!socket.is_open() && !socket.user().is_empty());
        assert_eq!(socket.subscriptions().count(), 0);
        self.oracle.borrow_mut().closed(client, code);
        assert_eq!(socket.subscribe("topic-1"), Subscribed::Closed);
        if client.is_multiple_of(2) {
            self.publish(&mut socket.context(), 1, 30, None);
        }
    }

    fn mail(&mut self, context: &mut Context<'_, Self>, mail: AppMail) {
        match mail {
            AppMail::Numbered {
                from,
                sequence,
                topic,
                bytes,
            } => {
                let before = self.mails_from.insert(from, sequence).unwrap_or_default();
                assert_eq!(
                    before + 1,
                    sequence,
                    "mail from shard {from} is out of order"
                );
                self.publish(context, topic, bytes, None);
            }
            AppMail::Join {
                from,
                id,
                client,
                topic,
            } => self.let_join(context, from, (id, client), topic),
            AppMail::Joined {
                home,
                id,
                client,
                topic,
                next,
            } => {
                self.joined(context, (id, client), topic, (home, next));
                context.release(&name_of(topic), payload::format_of(client, topic));
            }
            AppMail::Spawned { to, bytes } => {
                let target = Target::Connection(to);
                self.send_to(context, target, bytes);
            }
            AppMail::Knock(knock) => match knock.accept.data.word {
                Word::Yes => context.admit(*knock),
                Word::No => context.refuse(*knock, refusal()),
                Word::Nothing => drop(knock),
            },
        }
    }
}

fn refusal() -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, "forbidden", "not today")
}
