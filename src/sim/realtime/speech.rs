//! What clients say: any request, in any of the shapes that a request may have.

use serde_json::{Map, Value, json};

use super::guest::Ask;
use super::judge::{Judge, Said};
use super::person::Person;
use super::settings::{OWN_ROOM, OWN_ROOM_MAX, ROOMS, Settings};
use crate::sim::prng::Prng;

#[derive(Clone, Copy)]
enum Topic {
    Subscribe,
    Unsubscribe,
    Chat,
    Plain,
    Publish,
    Typing,
    Presence,
    Status,
    Room,
    Ping,
    Work,
    Nonsense,
}

/// Something for a client to say, of which the judge knows.
pub(super) fn draw(
    person: &Person,
    prng: &mut Prng,
    judge: &mut Judge,
    settings: &Settings,
) -> String {
    let topic = prng.weighted(&[
        (14, Topic::Subscribe),
        (5, Topic::Unsubscribe),
        (30, Topic::Chat),
        (2, Topic::Plain),
        (14, Topic::Publish),
        (4, Topic::Typing),
        (6, Topic::Presence),
        (14, Topic::Status),
        (10, Topic::Room),
        (2, Topic::Ping),
        (2, Topic::Work),
        (1, Topic::Nonsense),
    ]);
    let mut speaker = Speaker {
        person,
        prng,
        judge,
        settings,
    };
    match topic {
        Topic::Subscribe => speaker.subscribe(),
        Topic::Unsubscribe => speaker.unsubscribe(),
        Topic::Chat => speaker.chat(),
        Topic::Plain => speaker.plain(),
        Topic::Publish => speaker.publish(),
        Topic::Typing => {
            let is_typing = speaker.prng.chance(70);
            let room = speaker.room();
            speaker.ask(
                Ask::Quiet,
                "typing",
                json!({"room_id": room, "is_typing": is_typing}),
            )
        }
        Topic::Presence => speaker.presence(),
        Topic::Status => speaker.status(),
        Topic::Room => speaker.call(),
        Topic::Ping => speaker.ask(Ask::Call, "ping", json!({})),
        Topic::Work => speaker.ask(Ask::Call, "work", json!({})),
        Topic::Nonsense => speaker.ask(Ask::Call, "nonsense", json!({"a": 1})),
    }
}

/// A client about to speak.
struct Speaker<'a> {
    person: &'a Person,
    prng: &'a mut Prng,
    judge: &'a mut Judge,
    settings: &'a Settings,
}

impl Speaker<'_> {
    /// A room, often one that the client is in.
    fn room(&mut self) -> String {
        let guest = self.judge.guest(self.person.number);
        let stays = guest.stays.iter().filter(|(_, stay)| stay.is_in);
        let own: Vec<&str> = stays.map(|(room, _)| &**room).collect();
        match own.is_empty() || self.prng.chance(30) {
            true => self.prng.pick(&ROOMS).to_owned(),
            false => self.prng.pick(&own).to_owned(),
        }
    }

    /// A user of the world.
    fn user(&mut self) -> String {
        format!("user-{}", self.prng.number(0..self.settings.users))
    }

    /// A request, by whatever name of a room and in whatever shape.
    fn ask(&mut self, ask: Ask, kind: &str, mut members: Value) -> String {
        let id = self
            .judge
            .guest(self.person.number)
            .ask(self.person.number, ask);
        let members = members
            .as_object_mut()
            .expect("members are those of an object");
        // The members of a publication and of a call are not the envelope's.
        let is_nested = matches!(kind, "publish" | "rpc");
        if !is_nested && let Some(room) = members.remove("room_id") {
            let name = self.prng.pick(&["room_id", "chat_id", "topic", "channel"]);
            members.insert(name.to_owned(), room);
        }
        let mut envelope = Map::new();
        envelope.insert("type".into(), kind.into());
        envelope.insert("id".into(), id.into());
        match self.prng.number(0..3) {
            0 if !is_nested => envelope.append(members),
            1 => drop(envelope.insert("message".into(), Value::Object(members.clone()))),
            _ => drop(envelope.insert("data".into(), Value::Object(members.clone()))),
        }
        Value::Object(envelope).to_string()
    }

    fn subscribe(&mut self) -> String {
        let room = self.room();
        let presence = self.prng.chance(60);
        let mut members = json!({"room_id": room, "presence": presence});
        let known = self.person.known.get(&room).cloned();
        let recover = known
            .filter(|_| self.prng.chance(70))
            .map(|(epoch, offset)| {
                let offset = match self.prng.number(0..8) {
                    0 => offset + 3,
                    1 => offset.saturating_sub(self.prng.number(0..20) as u64),
                    _ => offset,
                };
                (epoch, offset)
            });
        if let Some((epoch, offset)) = &recover {
            members["recover"] = json!({"epoch": epoch, "offset": offset});
        }
        if self.prng.chance(30) {
            members["info"] = json!({"name": self.prng.number(0..100)});
        }
        let ask = Ask::Subscribe {
            room,
            recover,
            presence,
        };
        self.ask(ask, "subscribe", members)
    }

    fn unsubscribe(&mut self) -> String {
        let room = self.room();
        let members = json!({"room_id": room});
        self.ask(Ask::Unsubscribe { room }, "unsubscribe", members)
    }

    /// Something new to say in a room, or what the user has said before, once more.
    fn say(&mut self, room: &str, echo: bool, is_named: bool) -> (String, Option<String>) {
        let (client, user) = (self.person.number, self.person.user.clone());
        // Few names, so that other connections of the user repeat them, too.
        let name = is_named.then(|| format!("c{}", self.prng.number(0..40)));
        let tag = self.judge.say(Said {
            client,
            number: 0,
            user,
            room: room.to_owned(),
            echo,
            client_message_id: name.clone(),
        });
        (tag, name)
    }

    fn filler(&mut self) -> String {
        "ß, ☃ ".repeat(self.prng.size(self.settings.text_bytes_max) / 8)
    }

    fn chat(&mut self) -> String {
        let room = self.room();
        let is_named = self.prng.chance(40);
        let (tag, name) = self.say(&room, false, is_named);
        let mut members = json!({"room_id": room, "content": format!("{tag} {}", self.filler())});
        if let Some(name) = name {
            members["client_message_id"] = name.into();
        }
        self.ask(Ask::Post { room, tag }, "chat", members)
    }

    /// A text without an envelope, which is a chat for the room of a `flat` client's route.
    fn plain(&mut self) -> String {
        let (tag, _) = self.say("lobby", false, false);
        self.judge.guest(self.person.number).hope("lobby");
        tag
    }

    fn publish(&mut self) -> String {
        let room = self.room();
        let (echo, is_named) = (self.prng.chance(30), self.prng.chance(30));
        let (tag, name) = self.say(&room, echo, is_named);
        let mut members = json!({"topic": room, "data": {"tag": tag, "text": self.filler()}});
        if echo {
            members["echo"] = true.into();
        }
        if let Some(name) = name {
            members["client_message_id"] = name.into();
        }
        self.ask(Ask::Post { room, tag }, "publish", members)
    }

    fn presence(&mut self) -> String {
        let room = self.room();
        match self.prng.chance(50) {
            true => {
                let members = json!({"room_id": room, "action": "query", "limit": 2});
                self.ask(Ask::Call, "presence", members)
            }
            false => {
                let info = json!({"mood": self.prng.number(0..100)});
                let members = json!({"room_id": room, "action": "update", "info": info});
                self.ask(Ask::Quiet, "presence", members)
            }
        }
    }

    fn status(&mut self) -> String {
        let guest = self.judge.guest(self.person.number);
        if guest.recent.is_empty() {
            return self.ask(Ask::Call, "ping", json!({}));
        }
        let place = self.prng.number(0..guest.recent.len());
        let (room, id) = guest.recent[place].clone();
        let status = self.prng.pick(&["delivered", "read", "READ"]);
        let is_read = status != "delivered";
        self.judge.word(self.person.number, &id, is_read);
        let name = self.prng.pick(&["message_id", "up_to"]);
        let members = json!({"room_id": room, name: id, "status": status});
        self.ask(Ask::Quiet, "message-status", members)
    }

    /// A remote procedure of a room.
    fn call(&mut self) -> String {
        let room = self.room();
        let own = format!("{OWN_ROOM}{}", self.prng.pick(&["a", "b"]));
        let user = self.user();
        let (method, params) = match self.prng.number(0..11) {
            0..3 => ("room.create", self.spec(&own)),
            3 => {
                let is_private = self.prng.chance(50);
                (
                    "room.update",
                    json!({"room_id": own, "is_private": is_private}),
                )
            }
            4 => {
                self.judge.closed.insert(room.clone());
                ("room.close", json!({"room_id": room}))
            }
            5 => {
                let ban_s = self.prng.pick(&[0, 0, 5]);
                (
                    "room.kick",
                    json!({"room_id": room, "user_id": user, "ban_s": ban_s}),
                )
            }
            6 => {
                self.judge.listed.insert((own.clone(), user.clone()));
                ("room.add_member", json!({"room_id": own, "user_id": user}))
            }
            7 => (
                "room.remove_member",
                json!({"room_id": own, "user_id": user}),
            ),
            8 => ("room.members", json!({"room_id": room})),
            9 => ("room.history", json!({"room_id": room, "limit": 3})),
            _ => ("room.list", json!({})),
        };
        self.ask(
            Ask::Call,
            "rpc",
            json!({"method": method, "params": params}),
        )
    }

    fn spec(&mut self, room: &str) -> Value {
        let members: Vec<String> = (0..self.prng.number(0..3)).map(|_| self.user()).collect();
        let user = self.person.user.clone();
        for user in members.iter().chain([&user]) {
            self.judge.listed.insert((room.to_owned(), user.clone()));
        }
        json!({
            "room_id": room, "max_clients": OWN_ROOM_MAX, "is_private": self.prng.chance(30),
            "members": members,
        })
    }
}
