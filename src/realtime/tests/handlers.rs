use std::cell::Cell;
use std::rc::Rc;

use serde_json::Value;

use super::super::protocol::{Message, Rejection};
use super::super::{Ctx, Exclude, Handler, HandlerError, Realtime, Room};
use super::world::World;
use super::{trusting, world};
use crate::ws::CloseCode;

/// A handler that is a function.
struct On<F>(&'static str, F);

impl<F> Handler for On<F>
where
    F: FnMut(&mut Ctx<'_>, &Message<'_>) -> Result<(), HandlerError> + 'static,
{
    fn message_type(&self) -> &str {
        self.0
    }

    fn handle(&mut self, ctx: &mut Ctx<'_>, message: &Message<'_>) -> Result<(), HandlerError> {
        (self.1)(ctx, message)
    }
}

fn with<F>(shards: u16, name: &'static str, handle: F) -> World
where
    F: FnMut(&mut Ctx<'_>, &Message<'_>) -> Result<(), HandlerError> + Clone + 'static,
{
    World::new(shards, trusting(), move |app: Realtime| {
        app.with(On(name, handle.clone()))
    })
}

#[test]
fn a_failing_handler_is_answered_and_harms_nobody() {
    let mut world = with(1, "fail", |_, message| match message.raw("how")? {
        Some("1") => Err("x".parse::<u32>().unwrap_err().into()),
        Some("2") => Err(HandlerError::new("the secret of the house")),
        Some("3") => panic!("the secret of the house"),
        _ => Err(Rejection::Forbidden.into()),
    });
    let (ann, bob) = (world.enter("ann"), world.enter("bob"));
    world.forget();
    for how in 1..=3 {
        world.say(ann, &format!(r#"{{"type":"fail","id":{how},"how":{how}}}"#));
        let answer = world.next(ann);
        assert_eq!(
            (&answer["code"], &answer["id"]),
            (&"handler_error".into(), &how.into())
        );
        assert_eq!(answer["ref_type"], "fail");
        let text = answer.to_string();
        assert!(
            !text.contains("secret") && !text.contains("digit"),
            "{text}"
        );
    }
    world.say(ann, r#"{"type":"fail"}"#);
    assert_eq!(world.next(ann)["code"], "forbidden");
    world.say(ann, "still here");
    assert_eq!(world.next(bob)["content"], "still here");
    let stats = world.app(0).stats().counts;
    assert_eq!(
        (stats.handler_errors, stats.handler_panics, stats.refused),
        (2, 1, 1)
    );
    world.end();
}

#[test]
fn a_handlers_state_lives_as_long_as_the_shard() {
    let count = Rc::new(Cell::new(0));
    let seen = Rc::clone(&count);
    let mut world = with(1, "count", move |_, _| {
        count.set(count.get() + 1);
        Ok(())
    });
    let ann = world.enter("ann");
    for _ in 0..3 {
        world.say(ann, r#"{"type":"count"}"#);
    }
    assert_eq!(seen.get(), 3);
    world.end();
}

#[test]
fn a_handler_of_ones_own_replaces_a_built_in_one() {
    let mut world = with(2, "chat", |ctx, _| {
        ctx.reply("chat", |frame| frame.bool("replaced", true));
        Ok(())
    });
    let ann = world.enter("ann");
    world.forget();
    world.say(ann, r#"{"type":"chat","id":1}"#);
    let answer = world.next(ann);
    assert_eq!(
        (&answer["replaced"], &answer["id"]),
        (&true.into(), &1.into())
    );
    world.end();
}

#[test]
fn custom_types_are_as_written_and_built_in_ones_are_not() {
    let mut world = with(1, "my_type", |ctx, _| {
        ctx.reply("my_type", |frame| frame);
        Ok(())
    });
    let ann = world.enter("ann");
    world.say(ann, r#"{"type":"my_type"}"#);
    assert_eq!(world.next(ann)["type"], "my_type");
    world.say(ann, r#"{"type":"my-type"}"#);
    assert_eq!(world.next(ann)["code"], "unknown_type");
    world.end();

    let mut world = with(1, "message_status", |ctx, message| {
        ctx.reply(message.message_type(), |frame| frame);
        Ok(())
    });
    let ann = world.enter("ann");
    for name in ["message-status", "message_status"] {
        world.say(ann, &format!(r#"{{"type":"{name}"}}"#));
        assert_eq!(world.next(ann)["type"], "message-status");
    }
    world.end();
}

#[test]
fn broadcasts_reach_all_or_others_or_one_user() {
    let mut world = with(3, "tell", |ctx, message| {
        let text = message.str("text")?.unwrap_or_default().into_owned();
        match message.str("whom")?.as_deref() {
            Some("all") => ctx.broadcast("told", Exclude::None, |f| f.str("text", &text)),
            Some("others") => ctx.broadcast("told", Exclude::Sender, |f| f.str("text", &text)),
            Some(user) => ctx.send_to_user(user, "told", |f| f.str("text", &text)),
            None => return Err(Rejection::MissingMember("whom".into()).into()),
        }
        Ok(())
    });
    let (ann, bob, bob_too) = (world.enter("ann"), world.enter("bob"), world.enter("bob"));
    world.forget();
    let table = [
        ("all", [1, 1, 1]),
        ("others", [0, 1, 1]),
        ("bob", [0, 1, 1]),
        ("zoe", [0; 3]),
    ];
    for (whom, expected) in table {
        world.say(
            ann,
            &format!(r#"{{"type":"tell","whom":"{whom}","text":"hi"}}"#),
        );
        let got = [ann, bob, bob_too].map(|client| world.of_type(client, "told"));
        assert_eq!(got.each_ref().map(Vec::len), expected, "{whom}");
        let all_from_ann = |m: &Value| m["user_id"] == "ann" && m["text"] == "hi";
        assert!(got.iter().flatten().all(all_from_ann));
    }
    world.end();
}

#[test]
fn spawned_work_comes_back_with_its_request() {
    let mut world = with(2, "work", |ctx, message| {
        let how = message.str("how")?.unwrap_or_default().into_owned();
        let work = async move {
            assert_ne!(how, "panic", "as asked");
            how
        };
        ctx.spawn(work, |ctx, how| {
            if how == "fail" {
                return Err(HandlerError::new("as asked"));
            }
            ctx.reply("work", |frame| frame.str("done", &how));
            Ok(())
        });
        Ok(())
    });
    let ann = world.enter("ann");
    world.say(ann, r#"{"type":"work","id":"w","how":"well"}"#);
    let done = world.next(ann);
    assert_eq!((&done["done"], &done["id"]), (&"well".into(), &"w".into()));
    for how in ["fail", "panic"] {
        world.say(ann, &format!(r#"{{"type":"work","id":"w","how":"{how}"}}"#));
        let failed = world.next(ann);
        assert_eq!(
            (&failed["code"], &failed["id"]),
            (&"handler_error".into(), &"w".into())
        );
        assert_eq!(failed["ref_type"], "work");
    }
    world.say_only(ann, r#"{"type":"work","how":"well"}"#);
    world.leave(ann);
    world.end();
}

// Work that the service thread had no room for was counted and nothing else: whoever had asked waited for
// ever. Now the message is answered.
#[test]
fn who_asks_while_the_service_thread_has_no_room_is_told() {
    let mut world = with(2, "work", |ctx, message| {
        match message.str("where")?.as_deref() {
            Some("room") => {
                ctx.in_room(&Room::named("lobby")?, |room| {
                    room.spawn(async {}, |_, ()| panic!("it was not done"));
                    Ok(())
                });
            }
            Some("own words") => {
                let then = |_: &mut Ctx<'_>, ()| panic!("it was not done");
                ctx.spawn_or_else(async {}, then, |ctx| {
                    ctx.reply("work", |frame| frame.str("done", "later"));
                    Ok(())
                });
            }
            _ => ctx.spawn(async {}, |_, ()| panic!("it was not done")),
        }
        Ok(())
    });
    // Whose shard is not the room's home.
    let away = 1 - world.home("lobby");
    let name = world.at_home("ann", away);
    let ann = world.enter(&name);
    world.forget();
    world.refuse_spawned_work(true);
    for place in ["here", "room"] {
        world.say(
            ann,
            &format!(r#"{{"type":"work","id":"w","where":"{place}"}}"#),
        );
        let refused = world.next(ann);
        assert_eq!(refused["code"], "unavailable", "{place}");
        assert_eq!(
            (&refused["id"], &refused["ref_type"]),
            (&"w".into(), &"work".into())
        );
        assert_eq!(refused["retry_after_ms"], 1000);
    }
    world.say(ann, r#"{"type":"work","id":"w","where":"own words"}"#);
    assert_eq!(world.next(ann)["done"], "later");
    world.end();
}

#[test]
fn a_handler_may_close_its_connection_in_the_middle_of_a_batch() {
    let mut world = with(1, "bye", |ctx, _| {
        ctx.reply("bye", |frame| frame);
        ctx.close(CloseCode::NORMAL, "as asked");
        // What comes after goes nowhere.
        ctx.reply("never", |frame| frame);
        assert_eq!(ctx.buffered_amount(), 0);
        assert_eq!(ctx.join("den"), Err(Rejection::Conflict));
        Ok(())
    });
    let (ann, bob) = (world.enter("ann"), world.enter("bob"));
    world.forget();
    world.say(
        ann,
        r#"[{"type":"chat","content":"1"},{"type":"bye"},{"type":"chat","content":"2"}]"#,
    );
    let got = world.all(ann);
    assert_eq!(
        (&got[0]["type"], &got[1]["close"]),
        (&"bye".into(), &1000.into())
    );
    assert_eq!(got.len(), 2);
    let heard = world.all(bob);
    assert_eq!(
        (&heard[0]["content"], &heard[1]["action"]),
        (&"1".into(), &"leave".into())
    );
    world.end();
}

#[test]
fn a_handler_joins_and_leaves_rooms_and_asks_who_is_there() {
    let mut world = with(3, "move", |ctx, message| {
        let to = message.str("to")?.unwrap_or_default();
        assert!(ctx.leave("lobby"));
        assert!(!ctx.leave("lobby"));
        let room = ctx.join(&to)?;
        assert!(ctx.is_joined(&to));
        assert_eq!(ctx.rooms(), std::slice::from_ref(&room));
        ctx.members(&room, |ctx, members| {
            ctx.reply("moved", |frame| frame.number("count", members.count as u64));
            Ok(())
        });
        Ok(())
    });
    let (ann, bob) = (world.enter("ann"), world.enter("bob"));
    world.forget();
    world.say(ann, r#"{"type":"move","to":"den"}"#);
    assert_eq!(world.of_type(ann, "moved")[0]["count"], 1);
    assert_eq!(world.next(bob)["action"], "leave");
    world.say(bob, "into the empty lobby");
    assert_eq!(world.all(ann), [Value::Null; 0]);
    world.say(ann, "back again");
    assert_eq!(world.all(bob).last().unwrap()["content"], "back again");
    world.end();
}

#[test]
fn the_built_in_registry_names_its_types() {
    let registry = crate::realtime::Registry::default();
    for name in ["chat", "typing", "ping", "heartbeat", "presence"] {
        assert!(registry.contains(name));
    }
    assert!(!registry.contains("custom_message"));
    world(1).end();
}
