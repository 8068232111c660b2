//! Messages in several writings, and what one shard says to another about a topic.

use super::*;

/// Says its format's number, but nothing to format 3; keeps what it was asked for.
#[derive(Default)]
struct Numbers {
    asked: Vec<u8>,
    text: String,
}

impl Encode for Numbers {
    fn encode(&mut self, format: Format) -> Option<Message<'_>> {
        self.asked.push(format.0);
        self.text = format!("in {}", format.0);
        (format != Format(3)).then_some(Message::Text(&self.text))
    }
}

/// Two shards of one process.
fn pair(options: Options) -> [Rig; 2] {
    let shared = Shared::new(options, 2, 1);
    [0, 1].map(|shard| Rig::one_of(Arc::clone(&shared), ShardId(shard)))
}

/// Publishes [`Numbers`] to `t`, which must be asked for just these formats.
fn publish_numbers(rig: &mut Rig, expected: &'static [u8]) {
    rig.run(move |context| {
        let mut numbers = Numbers::default();
        context.publish_encoded("t", &mut numbers, None);
        assert_eq!(numbers.asked, expected);
    });
    rig.turn();
}

/// What a shard has mailed: publications with their formats and bytes.
fn mailed(rig: &mut Rig) -> Vec<String> {
    let mails = rig.outbox.mails.drain(..);
    let say = |(to, mail)| match mail {
        Mail::Publish(batch) => {
            let formats = batch.formats().iter().map(|format| format.0);
            let formats: Vec<u8> = formats.take(4).collect();
            let payloads = String::from_utf8_lossy(&batch.payloads);
            format!("{to}: {} {formats:?} {payloads}", batch.topic)
        }
        Mail::App(mail) => format!("{to}: {mail}"),
        other => panic!("{other:?}"),
    };
    mails.map(say).collect()
}

#[test]
fn everybody_gets_the_writing_they_take_and_no_other_is_made() {
    let [mut here, mut there] = pair(Options::default());
    publish_numbers(&mut here, &[]);
    let locals = [
        here.ask("/guest").0,
        here.ask("/guest").0,
        here.ask("/guest").0,
    ];
    for (slot, format) in locals.into_iter().zip([2, 0, 3]) {
        here.say(slot, &format!("sub t {format}"));
    }
    publish_numbers(&mut here, &[0, 2, 3]);
    assert_eq!(
        locals.map(|slot| here.frames(slot).concat()),
        ["in 2", "in 0", ""]
    );
    assert_eq!(mailed(&mut here), [""; 0]);
    let far = there.ask("/guest").0;
    there.say(far, "sub t 5");
    publish_numbers(&mut here, &[0, 2, 3, 5]);
    let (to, mail) = here.outbox.mails.pop().expect("the other shard takes 5");
    assert_eq!(to, ShardId(1));
    there.handle(Event::Mail(mail));
    there.turn();
    assert_eq!(there.frames(far), ["in 5"]);
    // Nothing that the message says to others is for who takes 3.
    there.say(far, "unsub t");
    there.say(far, "sub t 3");
    there.turn();
    publish_numbers(&mut here, &[0, 2, 3]);
    assert_eq!(mailed(&mut here), [""; 0]);
}

#[test]
fn lanes_that_differ_in_compression_alone_share_a_writing() {
    let mut rig = Rig::new(Options {
        compression: Some(Compression::default()),
        ..Options::default()
    });
    let slots = [rig.open("plain"), rig.open("small"), rig.open("large")];
    for (slot, window_bits) in slots.into_iter().zip([None, Some(9), Some(15)]) {
        let window_bits = window_bits.map(|bits| crate::ws::WindowBits::new(bits).unwrap());
        rig.shard.core.connection_mut(slot).unwrap().window_bits = window_bits;
        rig.say(slot, "sub t 1");
    }
    publish_numbers(&mut rig, &[1]);
    assert_eq!(slots.map(|slot| rig.frames(slot).concat()), ["in 1"; 3]);
}

#[test]
fn a_held_topic_is_mailed_and_kept_for_nobody() {
    let [mut here, mut there] = pair(Options::default());
    let hold = |context: &mut Context<'_, Scripted>| context.hold("t", Format(7));
    let release = |context: &mut Context<'_, Scripted>| context.release("t", Format(7));
    there.run(hold);
    there.run(hold);
    there.run(|context| context.hold("", Format(7)));
    there.run(release);
    publish_numbers(&mut here, &[7]);
    let (_, mail) = here.outbox.mails.pop().expect("it is still held");
    there.handle(Event::Mail(mail));
    there.turn();
    assert_eq!(there.shard.counters().appended, 0);
    // Its subscribers come and go meanwhile.
    let guest = there.ask("/guest").0;
    there.say(guest, "sub t 7");
    there.say(guest, "unsub t");
    there.turn();
    publish_numbers(&mut here, &[7]);
    there.say(guest, "close");
    there.handle(Event::EndOfStream { slot: guest });
    there.turn();
    there.handle(Event::Released { slot: guest });
    there.run(release);
    there.run(release);
    publish_numbers(&mut here, &[]);
    there.shard.assert_quiet();
}

#[test]
fn mail_in_order_keeps_its_place_among_publications() {
    let [mut here, mut there] = pair(Options::default());
    there.run(|context| {
        context.hold("t", Format(0));
        context.hold("other", Format(0));
    });
    here.run(|context| {
        context.publish("t", "1", None);
        context.publish("other", "a", None);
        context.mail(ShardId(1), "at once");
        context.publish("t", "2", None);
        context.mail_in_order(ShardId(1), "t", "after 2");
        context.mail_in_order(ShardId(1), "t", "after 2 as well");
        context.publish("t", "3", None);
        context.publish_encoded("t", &mut Numbers::default(), None);
    });
    here.run(|context| context.mail_in_order(ShardId(1), "t", "after 3"));
    here.run(|context| {
        context.publish("other", "b", None);
        context.publish("t", "4", None);
    });
    here.turn();
    let all = "[0, 1, 2, 3]";
    let expected = [
        "1: at once".into(),
        format!("1: t {all} 12"),
        "1: after 2".into(),
        "1: after 2 as well".into(),
        format!("1: t {all} 3in 0"),
        "1: after 3".into(),
        format!("1: other {all} ab"),
        format!("1: t {all} 4"),
    ];
    assert_eq!(mailed(&mut here), expected);
}

/// Who joins in a format that nobody had when the turn's batch was begun.
#[test]
fn a_batch_learns_of_formats_that_are_new_in_its_turn() {
    let [mut here, mut there] = pair(Options::default());
    there.run(|context| context.hold("t", Format(0)));
    here.run(|context| context.publish_encoded("t", &mut Numbers::default(), None));
    there.run(|context| context.hold("t", Format(1)));
    publish_numbers(&mut here, &[0, 1]);
    assert_eq!(mailed(&mut here), ["1: t [0, 1] in 0in 0in 1"]);
}

#[test]
fn mail_in_order_to_the_shard_itself_comes_after_the_callback() {
    let [mut here, _] = pair(Options::default());
    here.run(|context| {
        context.mail_in_order(ShardId(0), "t", "mine");
        context.publish("t", "1", None);
    });
    assert_eq!(here.told(), ["mail mine"]);
    here.turn();
    assert_eq!(mailed(&mut here), [""; 0]);
}
