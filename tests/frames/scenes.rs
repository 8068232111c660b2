//! All that a client can do, in each profile.

use std::time::Duration;

use campanile::auth::{
    AuthOptions, Authenticator, Gate, GateOptions, KeyOptions, Material, TokenOptions,
};
use campanile::id::UserId;
use campanile::pairing::{Change, Draft, Outcome, PairingOptions, Pairings, RANDOM_BYTES};
use campanile::realtime::protocol::Profile;
use campanile::realtime::{LimitOptions, Mail};
use serde_json::{Value, json};

use super::stage::Player;
use super::{Frame, Stage};

/// Performs every scene in every profile: the frames that came of it, and the close codes.
pub(crate) fn perform() -> (Vec<Frame>, Vec<u16>) {
    let scenes = [
        talk,
        recover,
        without_history,
        masters,
        lasting,
        errors,
        crowd,
        limits,
        slow,
        sent_away,
        batches,
        pairing,
        tokens,
    ];
    let (mut frames, mut closes) = (Vec::new(), Vec::new());
    for profile in Profile::ALL {
        for scene in scenes {
            let stage = scene(profile);
            closes.extend(stage.closes());
            frames.extend(stage.finish());
        }
    }
    (frames, closes)
}

const KITCHEN: &str = "kitchen";

/// Two users in the kitchen: one with a number for a name, one with a word.
fn talk(profile: Profile) -> Stage {
    let mut stage = Stage::new(profile);
    let (ann, bob) = (stage.enter("42", "admin"), stage.enter("bob", ""));
    for (client, name) in [(&ann, "Ann"), (&bob, "Bob")] {
        let info = json!({"name": name});
        let wish = json!({"topic": KITCHEN, "presence": true, "info": info});
        client.ask("subscribe", wish);
    }
    let carl = stage.enter("carl", "");
    carl.say("subscribe", json!({"topic": KITCHEN, "presence": true}));
    stage.collect();
    carl.leave();
    let info = json!({"name": "Anne"});
    let update = json!({"action": "update", "room_id": KITCHEN, "info": info});
    ann.say("presence", update);
    for client in [&ann, &bob] {
        speak(client);
        say_bytes(client);
        for message_type in ["ping", "heartbeat"] {
            client.ask(message_type, json!({}));
            client.say(message_type, json!({}));
        }
        for limit in [1, 50] {
            let page = json!({"action": "query", "room_id": KITCHEN, "limit": limit});
            client.ask("presence", page);
            client.call("room.history", json!({"room_id": KITCHEN, "limit": limit}));
            client.call("room.members", json!({"room_id": KITCHEN, "limit": limit}));
        }
        stage.server.advance(Duration::from_secs(2));
    }
    for frame in stage.collect() {
        let id =
            message_id(&frame.value).filter(|_| frame.value["type"] == "chat" && frame.to == "bob");
        if let Some(id) = id {
            let read = json!({"room_id": KITCHEN, "message_id": id, "status": "READ"});
            bob.say("message-status", read);
        }
    }
    ann.ask("unsubscribe", json!({"topic": KITCHEN}));
    notify(&ann);
    stage
}

fn speak(client: &Player) {
    let named = json!({"room_id": KITCHEN, "content": "hi", "client_message_id": "c1"});
    let moody =
        json!({"room_id": KITCHEN, "content": "who has the kettle?", "mood": {"tea": true}});
    client.ask("chat", named.clone());
    client.ask("chat", json!({"room_id": KITCHEN, "text": "hi"}));
    client.say("chat", named);
    client.say("chat", json!({"room_id": KITCHEN, "content": "hi"}));
    client.say("chat", moody);
    client.say("chat", json!({"room_id": KITCHEN, "x": 3, "y": 4}));
    client.say("typing", json!({"room_id": KITCHEN, "is_typing": true}));
    client.ask("publish", json!({"topic": KITCHEN, "data": 1}));
    let tick = json!({"topic": KITCHEN, "data": {"btc": 50010}, "event": "tick", "key": "btc"});
    client.ask("publish", tick);
}

/// Publishes two bytes.
fn say_bytes(client: &Player) {
    let envelope = json!({"type": "publish", "topic": KITCHEN, "event": "tick"}).to_string();
    let length = u16::try_from(envelope.len()).expect("it is short");
    let header = [&[1, 0], &length.to_be_bytes()[..]].concat();
    client.send([&header, envelope.as_bytes(), b"\x00\xff"].concat());
}

fn notify(admin: &Player) {
    let notice = json!({"receiver_id": "bob", "title": "Rain", "body": "Take an umbrella."});
    admin.say("notification", notice);
    let request = json!({"receiver_id": "bob", "request_id": "r1", "status": "pending"});
    admin.say("request-notification", request);
    admin.say(
        "announcement",
        json!({"message": "Server maintenance in 5 minutes"}),
    );
}

/// The identifier of a message that somebody sent.
fn message_id(frame: &Value) -> Option<&str> {
    let places = ["/id", "/message/message_id"];
    places
        .iter()
        .find_map(|place| frame.pointer(place)?.as_str())
}

/// Comes back for what was said meanwhile.
fn recover(profile: Profile) -> Stage {
    let mut stage = Stage::new(profile);
    let ann = stage.enter("42", "");
    ann.ask("subscribe", json!({"topic": "prices"}));
    let frames = stage.collect();
    let inside = ["/data/epoch", "/message/epoch", "/epoch"];
    let epoch = |frame: &Frame| {
        inside
            .iter()
            .find_map(|place| frame.value.pointer(place).cloned())
    };
    let epoch = frames
        .iter()
        .find_map(epoch)
        .expect("prices have a history");
    ann.say("publish", json!({"topic": "prices", "data": 1}));
    for epoch in [epoch, json!("another")] {
        let recover = json!({"epoch": epoch, "offset": 0});
        ann.ask("subscribe", json!({"topic": "prices", "recover": recover}));
    }
    stage
}

fn without_history(profile: Profile) -> Stage {
    let mut stage = Stage::new(profile);
    let (ann, bob) = (stage.enter("42", ""), stage.enter("bob", ""));
    for client in [&ann, &bob] {
        client.ask("subscribe", json!({"topic": "flash"}));
    }
    for client in [&ann, &bob] {
        client.ask("publish", json!({"topic": "flash", "data": {"btc": 50010}}));
        client.ask("chat", json!({"topic": "flash", "content": "hi"}));
    }
    stage
}

/// What the owner of a room can do with it.
fn masters(profile: Profile) -> Stage {
    let mut stage = Stage::new(profile);
    let [ann, bob, carl] = ["ann", "bob", "carl"].map(|user| stage.enter(user, ""));
    let team = |more: Value| {
        let mut params = json!({"room_id": "team"});
        for (name, value) in more.as_object().into_iter().flatten() {
            params[name] = value.clone();
        }
        params
    };
    let spec = json!({"name": "The team", "max_clients": 10, "is_private": true,
        "metadata": {"colour": "red"}, "members": ["ann", "bob"]});
    ann.call("room.create", team(spec));
    for client in [&ann, &bob] {
        client.say("subscribe", team(json!({"presence": true})));
    }
    ann.call("room.get", team(json!({})));
    ann.call("room.list", json!({}));
    ann.call("room.list", json!({"limit": 1}));
    ann.call(
        "room.update",
        team(json!({"name": "The crew", "metadata": {"colour": "red"}})),
    );
    ann.call("room.add_member", team(json!({"user_id": "carl"})));
    carl.say("subscribe", team(json!({})));
    ann.call("room.remove_member", team(json!({"user_id": "carl"})));
    ann.call("room.update", team(json!({"max_clients": 5})));
    bob.call("room.update", team(json!({"name": "Mine"})));
    ann.call("room.kick", team(json!({"user_id": "bob", "ban_s": 60})));
    ann.call("room.add_member", team(json!({"user_id": "dora"})));
    let dora = stage.enter("dora", "");
    dora.say("subscribe", team(json!({})));
    ann.call("room.close", team(json!({})));
    // A room without a name, and one that nobody made.
    ann.call("room.create", json!({"members": ["bob"]}));
    bob.say("subscribe", json!({"topic": "found"}));
    ann.call("room.get", json!({"room_id": "found"}));
    ann.call("room.list", json!({"limit": 1}));
    ann.call("server.time", json!({}));
    ann.call("user.connections", json!({}));
    stage.collect();
    stage
}

/// Comes back to a room whose member one was meanwhile.
fn lasting(profile: Profile) -> Stage {
    let mut stage = Stage::new(profile);
    let ann = stage.enter("42", "");
    ann.call(
        "room.create",
        json!({"room_id": "team", "name": "Team", "members": ["42", "bob"]}),
    );
    ann.say(
        "chat",
        json!({"room_id": "team", "content": "hi", "client_message_id": "c1"}),
    );
    stage.collect();
    stage.enter("bob", "");
    stage
}

fn errors(profile: Profile) -> Stage {
    let mut stage = Stage::new(profile);
    let (ann, bob) = (stage.enter("ann", ""), stage.enter("bob", ""));
    for text in [
        "{\"type\":",
        "[[",
        "{}",
        "{\"type\":\"nobody\",\"id\":4}",
        "",
        "[]",
    ] {
        ann.send(text);
    }
    let deep = format!(
        "{{\"type\":\"chat\",\"x\":{}{}}}",
        "[".repeat(200),
        "]".repeat(200)
    );
    ann.send(deep);
    for bytes in [
        &b"\x02\0\0\0"[..],
        b"\x01\x04\0\0",
        b"\x01",
        b"\x01\0\xff\xff",
    ] {
        ann.send(bytes);
    }
    ann.ask("fail", json!({}));
    ann.ask("authentication", json!({"token": "t"}));
    ann.ask("typing", json!({"room_id": "nowhere", "is_typing": true}));
    ann.ask("typing", json!({"room_id": "nowhere"}));
    ann.ask("subscribe", json!({}));
    ann.ask("subscribe", json!({"topic": "made-by-nobody"}));
    ann.ask(
        "subscribe",
        json!({"topic": "x", "info": {"name": "x".repeat(2000)}}),
    );
    for client in [&ann, &bob] {
        client.ask("subscribe", json!({"topic": "two"}));
    }
    let carl = stage.enter("carl", "");
    carl.ask("subscribe", json!({"topic": "two"}));
    ann.call("room.create", json!({"room_id": "own"}));
    ann.call("room.create", json!({"room_id": "own"}));
    bob.call("room.close", json!({"room_id": "own"}));
    ann.call("nothing", json!({}));
    ann.call("room.get", json!({}));
    ann.call("slow", json!({}));
    ann.ask("announcement", json!({"message": "hi"}));
    stage.server.run();
    stage.server.advance(Duration::from_secs(11));
    stage
}

/// More users than presence names and than statuses are told of.
fn crowd(profile: Profile) -> Stage {
    let mut stage = Stage::with(profile, |options| {
        options.presence.members_max = 2;
        options.delivery.recipients_max = 1;
    });
    let users = ["42", "bob", "carl"].map(|user| stage.enter(user, ""));
    for user in &users {
        user.ask("subscribe", json!({"topic": KITCHEN, "presence": true}));
    }
    users[0].ask(
        "chat",
        json!({"room_id": KITCHEN, "content": "hi", "client_message_id": "c1"}),
    );
    for frame in stage.collect() {
        let id =
            message_id(&frame.value).filter(|_| frame.value["type"] == "chat" && frame.to == "bob");
        if let Some(id) = id {
            let up_to = json!({"room_id": KITCHEN, "up_to": id, "status": "read"});
            users[1].say("message-status", up_to);
        }
    }
    stage.server.advance(Duration::from_secs(2));
    stage
}

/// Sends more than is allowed, until the server has had enough.
fn limits(profile: Profile) -> Stage {
    let mut stage = Stage::with(profile, |options| {
        options.limits = LimitOptions {
            messages_per_second: 1,
            burst: 3,
            rooms_per_connection_max: 1,
            rooms_max: 1,
            ..LimitOptions::default()
        };
    });
    let ann = stage.enter("ann", "");
    // The shard of this room has no place for another.
    let home = stage.server.home(match profile {
        Profile::Flat => "lobby",
        _ => KITCHEN,
    });
    ann.ask("subscribe", json!({"topic": KITCHEN}));
    stage.server.advance(Duration::from_secs(2));
    stage.collect();
    stage.server.advance(Duration::from_secs(2));
    ann.ask("subscribe", json!({"topic": "another"}));
    stage.server.advance(Duration::from_secs(2));
    let other = (0..).map(|n| format!("room-{n}"));
    let mut others = other.filter(|room| stage.server.home(room) == home);
    let full = others.next().expect("there are many names");
    let bob = stage.enter("bob", "");
    bob.say("unsubscribe", json!({"topic": KITCHEN}));
    bob.say("unsubscribe", json!({"topic": "lobby"}));
    stage.server.advance(Duration::from_secs(2));
    bob.ask("subscribe", json!({"topic": full}));
    stage.server.advance(Duration::from_secs(2));
    for _ in 0..30 {
        if ann.client().closed().is_none() {
            ann.ask("ping", json!({}));
        }
    }
    stage.server.advance(Duration::from_secs(2));
    stage
}

/// Reads so slowly that messages are left out.
fn slow(profile: Profile) -> Stage {
    let mut stage = Stage::new(profile);
    let (ann, bob) = (stage.enter("ann", ""), stage.enter("bob", ""));
    for client in [&ann, &bob] {
        client.ask("subscribe", json!({"topic": KITCHEN}));
    }
    bob.client().freeze();
    let long = "x".repeat(8 << 10);
    for _ in 0..20 {
        ann.say("publish", json!({"topic": KITCHEN, "data": long}));
    }
    bob.client().thaw();
    stage
}

/// Is sent away from the room of the path.
fn sent_away(profile: Profile) -> Stage {
    let mut stage = Stage::new(profile);
    let ann = stage
        .enter_by("/v1/connect?", "ann", "")
        .expect("she is let in");
    let kick = |user: &str| json!({"room_id": "own", "user_id": user});
    ann.call("room.create", json!({"room_id": "own", "max_clients": 2}));
    for (user, act) in [
        ("bob", "room.kick"),
        ("carl", "room.remove_member"),
        ("dora", "room.close"),
    ] {
        let _ = stage.enter_by("/ws/own?", user, "");
        ann.call(act, kick(user));
    }
    for (user, room) in [
        ("eve", "two"),
        ("finn", "two"),
        ("gus", "two"),
        ("hal", "made-by-nobody"),
    ] {
        let _ = stage.enter_by(&format!("/ws/{room}?"), user, "");
    }
    stage
}

/// Takes arrays, both ways.
fn batches(profile: Profile) -> Stage {
    let mut stage = Stage::new(profile);
    let ann = stage
        .enter_by("/v1/connect?batch=1&", "42", "")
        .expect("she is let in");
    let pings: Vec<Value> = (0..3).map(|id| json!({"type": "ping", "id": id})).collect();
    ann.send(json!(pings));
    stage
}

/// A pairing for whoever has the code, which is given up, and one for a player, who joins.
fn pairing(profile: Profile) -> Stage {
    let mut stage = Stage::new(profile);
    let (ann, bob) = (UserId::from("42"), UserId::from("bob"));
    for player in [&ann, &bob] {
        stage.enter(player, "");
    }
    let now_ms = stage.server.unix_ms();
    let mut pairings = Pairings::new(PairingOptions::default());
    let drafts = [
        Draft::default(),
        Draft {
            target: Some(bob.clone()),
            name: Some("Friday's game".into()),
            ..Draft::default()
        },
    ];
    for (number, draft) in (0..).zip(drafts) {
        let has_target = draft.target.is_some();
        // Of which the code of the document's example is made.
        let random: [u8; RANDOM_BYTES] =
            std::array::from_fn(|at| [17, 5, 21, 0, 30, 20][(at + 2 + number) % 6]);
        let made = pairings.create(&ann, draft, &random, now_ms);
        let made = made.expect("a pairing");
        let id = made.pairing.id;
        tell(&stage, &mut pairings, &made);
        let outcome = match has_target {
            true => pairings.join(&bob, id, now_ms),
            false => pairings.expire(&ann, id, now_ms),
        };
        let Ok(Outcome::Changed(change)) = outcome else {
            panic!("{outcome:?}");
        };
        tell(&stage, &mut pairings, &change);
    }
    stage
}

fn tell(stage: &Stage, pairings: &mut Pairings, change: &Change) {
    pairings.apply(change);
    for telling in change.tellings() {
        let mail = Mail::send_to_user(&telling.player, telling.message_type, &telling.payload);
        let home = stage.server.home(&telling.player);
        stage.server.mail(home, mail.expect("an object"));
    }
}

const SECRET: &[u8] = b"a secret of 32 bytes for tests..";

/// A token of a user that ends so many seconds from now.
fn token(stage: &Stage, user: &str, seconds: u64) -> String {
    let expires_s = stage.server.unix_ms() / 1000 + seconds;
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET);
    let claims = json!({"sub": user, "exp": expires_s});
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("it is signed")
}

/// A token that ends and is replaced, one of somebody else, and one that is none.
fn tokens(profile: Profile) -> Stage {
    let key = KeyOptions {
        id: None,
        algorithms: Vec::new(),
        material: Material::Secret(SECRET.into()),
    };
    let options = AuthOptions {
        token: TokenOptions {
            keys: vec![key],
            ..TokenOptions::default()
        },
        ..AuthOptions::default()
    };
    let authenticator = Authenticator::new(options, None).expect("a key");
    let gate = Gate::new(authenticator, &GateOptions::default()).expect("the defaults");
    let mut stage = Stage::behind(profile, gate, |_| {});
    let bearer = format!("Bearer {}", token(&stage, "42", 60));
    let target = format!("/v1/connect?profile={profile}");
    let ann = stage
        .enter_with(&target, "42", &[("Authorization", &bearer)])
        .expect("she is let in");
    stage.server.advance(Duration::from_secs(40));
    let fresh = token(&stage, "42", 600);
    ann.send(json!({"type": "authentication", "id": "1", "token": fresh}));
    ann.send(json!({"type": "authentication", "token": fresh}));
    let of_bob = token(&stage, "bob", 600);
    ann.send(json!({"type": "authentication", "id": "2", "token": of_bob}));
    stage.collect();
    ann.send(json!({"type": "authentication", "id": "3", "token": "none"}));
    stage
}
