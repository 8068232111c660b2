//! The world: the stage, the people on it, and what happens next.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::frame::Profile;
use super::guest::{Ask, Guest};
use super::judge::Judge;
use super::person::{Known, Person};
use super::settings::{ROOMS, Settings};
use super::truth::Truth;
use super::{Tally, speech};
use crate::auth::{Gate, GateOptions, OriginRequired};
use crate::id::ShardId;
use crate::realtime::protocol::Message;
use crate::realtime::{Ctx, Handler, HandlerError, Realtime, Stats};
use crate::shard::{Batch, Mail};
use crate::sim::Fault;
use crate::sim::prng::Prng;
use crate::sim::stage::{Plan, Stage, Witness};

/// Rounds in which a healed world must come to rest.
const ROUNDS_MAX: usize = 20_000;
/// Sockets of a shard.
const SOCKETS_MAX: u32 = 1000;
/// Jobs of the service thread.
const JOBS_MAX: usize = 1000;

/// The stage of this world.
pub(super) type Theatre = Stage<Realtime, Eye>;

/// Sees what shards do, and plants the bugs.
pub(super) struct Eye {
    judge: Rc<RefCell<Judge>>,
    fault: Option<Fault>,
    /// What a shard had counted when it was looked at last.
    seen: RefCell<BTreeMap<ShardId, Stats>>,
}

impl Eye {
    /// The mail as a bug would have it. `None`: it is lost.
    fn meddle(&self, mail: Mail<Realtime>) -> Option<Mail<Realtime>> {
        match (self.fault, mail) {
            (Some(Fault::LoseReplayed), Mail::App(mut mail)) => {
                mail.lose_replayed();
                Some(Mail::App(mail))
            }
            (Some(Fault::RepeatReplayed), Mail::App(mut mail)) => {
                mail.repeat_replayed();
                Some(Mail::App(mail))
            }
            (Some(Fault::UnreadStatus), Mail::App(mut mail)) => {
                mail.unread();
                Some(Mail::App(mail))
            }
            (Some(Fault::ProveUntested), Mail::App(mail)) => {
                let work = mail.prove_untested();
                Some(work.map_or(Mail::App(mail), Mail::Run))
            }
            (Some(Fault::LoseLeave), Mail::Publish(batch)) => {
                without_leave(&batch).map(|batch| Mail::Publish(Arc::new(batch)))
            }
            (_, mail) => Some(mail),
        }
    }
}

impl Witness<Realtime> for Eye {
    fn posted(&self, queue: &mut VecDeque<Mail<Realtime>>, mail: Mail<Realtime>) {
        let is_joined = matches!(&mail, Mail::App(mail) if mail.is_joined());
        let Some(mail) = self.meddle(mail) else {
            return;
        };
        let is_ahead = self.fault == Some(Fault::JoinOutOfOrder) && is_joined;
        match queue.back() {
            Some(Mail::Publish(_)) if is_ahead => queue.insert(queue.len() - 1, mail),
            _ => queue.push_back(mail),
        }
    }

    fn handled(&self, shard: ShardId, app: &Realtime) {
        let stats = app.stats();
        // All of it: a room may have ended and begun anew, with as many members and messages.
        let before = self.seen.borrow_mut().insert(shard, stats);
        if before != Some(stats) {
            self.judge.borrow_mut().look(app);
        }
    }
}

/// The batch without what says that somebody has left.
fn without_leave(batch: &Batch) -> Option<Batch> {
    let mut left = Batch {
        topic: batch.topic.clone(),
        ..Batch::default()
    };
    let mut rest = &batch.payloads[..];
    for entry in &batch.entries {
        let (payload, after) = rest.split_at(entry.bytes);
        rest = after;
        let text = String::from_utf8_lossy(payload);
        if !text.contains(r#""action":"leave""#) {
            left.payloads.extend_from_slice(payload);
            left.entries.push(*entry);
        }
    }
    (!left.entries.is_empty()).then_some(left)
}

/// A handler that does its work elsewhere.
struct Work;

impl Handler for Work {
    fn message_type(&self) -> &str {
        "work"
    }

    fn handle(&mut self, ctx: &mut Ctx<'_>, _: &Message<'_>) -> Result<(), HandlerError> {
        ctx.spawn(async { 7 }, |ctx, result| {
            ctx.reply("worked", |fields| fields.number("result", result));
            Ok(())
        });
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Step {
    Turn,
    Person,
    Enter,
    Trouble,
    Work,
    Time,
}

/// Everything there is.
pub(super) struct World {
    settings: Settings,
    stage: Theatre,
    people: Vec<Person>,
    judge: Rc<RefCell<Judge>>,
    /// What the last client of each user that has gone had known.
    memories: BTreeMap<String, Known>,
}

impl World {
    pub(super) fn new(seed: u64, settings: Settings, fault: Option<Fault>) -> Self {
        let judge = Rc::new(RefCell::new(Judge::new(&settings)));
        let eye = Eye {
            judge: Rc::clone(&judge),
            fault,
            seen: RefCell::default(),
        };
        let plan = Plan {
            shards: settings.shards,
            options: settings.core.clone(),
            sockets_max: SOCKETS_MAX,
            service_queue_max: JOBS_MAX,
            weights: settings.weights,
            fault,
        };
        let mut options = settings.app.clone();
        if fault == Some(Fault::RoomForOneMore) {
            for namespace in &mut options.namespaces {
                namespace.members_max += u32::from(namespace.members_max > 0);
            }
        }
        let options = Arc::new(options);
        let gate = Arc::new(Gate::trusting());
        let options_of_gate = GateOptions {
            origin_required: OriginRequired::Never,
            ..GateOptions::default()
        };
        gate.set(&options_of_gate).expect("the defaults are sound");
        let app = || {
            Realtime::new(Arc::clone(&options))
                .with_gate(Arc::clone(&gate))
                .with(Work)
        };
        Self {
            stage: Stage::new(Prng::new(seed), plan, eye, app),
            settings,
            people: Vec::new(),
            judge,
            memories: BTreeMap::new(),
        }
    }

    /// Lives through a whole run.
    pub(super) fn run(mut self) -> Tally {
        for _ in 0..self.settings.steps {
            self.step();
        }
        self.heal();
        self.part();
        self.finish()
    }

    fn step(&mut self) {
        let step = self.stage.prng.weighted(&[
            (40, Step::Turn),
            (50, Step::Person),
            (4, Step::Enter),
            (3, Step::Trouble),
            (4, Step::Work),
            (10, Step::Time),
        ]);
        match step {
            Step::Turn => {
                let station = self.stage.prng.number(0..self.stage.stations.len());
                self.stage.turn(station);
            }
            Step::Person => (0..3).for_each(|_| self.person_step()),
            Step::Enter => self.enter(),
            Step::Trouble => self.trouble(),
            Step::Work => {
                if !self.stage.prng.chance(self.stage.weights.service_delay) {
                    self.stage.work();
                }
            }
            Step::Time => self.stage.pass_time(),
        }
    }

    /// Somebody comes, perhaps back.
    fn enter(&mut self) {
        let present = self
            .people
            .iter()
            .filter(|person| !person.is_over())
            .count();
        if present >= self.settings.people_max {
            return;
        }
        let user = format!("user-{}", self.stage.prng.number(0..self.settings.users));
        let known = self.memories.get(&user).cloned().unwrap_or_default();
        let number = self.stage.connect(self.settings.send_buffer_bytes_max);
        let person = Person::new(number, user, known, &mut self.stage.prng);
        self.admit(person);
    }

    fn admit(&mut self, person: Person) {
        let mut guest = Guest::new(&person.user, person.profile);
        // The room of its path or route lets it in, or does not, without a word.
        if let Some(room) = &person.own_room {
            guest.hope(room);
        }
        let mut judge = self.judge.borrow_mut();
        judge.note(format_args!(
            "{} comes, {} by {}",
            person.number,
            person.user,
            person.profile.name()
        ));
        judge.guests.insert(person.number, guest);
        drop(judge);
        self.stage.knock(person.number);
        self.people.push(person);
    }

    /// A client that is still there.
    fn somebody(&mut self) -> Option<usize> {
        let present = (0..self.people.len()).filter(|&person| !self.people[person].is_over());
        let present: Vec<usize> = present.collect();
        (!present.is_empty()).then(|| self.stage.prng.pick(&present))
    }

    fn person_step(&mut self) {
        let Some(number) = self.somebody() else {
            return;
        };
        let Self {
            settings,
            stage,
            people,
            judge,
            ..
        } = self;
        let person = &mut people[number];
        if stage.prng.chance(stage.weights.stall) {
            let ms = stage.prng.size(15_000) as u64;
            person.stall(stage.clock.now.monotonic_ms + ms);
        }
        if person.may_speak(stage.network.link(number)) && stage.prng.chance(40) {
            let mut judge = judge.borrow_mut();
            let text = speech::draw(person, &mut stage.prng, &mut judge, settings);
            judge.note(format_args!("{number} says {text}"));
            person.say(&text);
        }
        self.pump(number);
    }

    fn pump(&mut self, number: usize) -> bool {
        let person = &mut self.people[number];
        let was_over = person.is_over();
        let moved = person.pump(
            self.stage.network.link(number),
            self.stage.clock.now.monotonic_ms,
            &mut self.stage.prng,
            &mut self.judge.borrow_mut(),
        );
        if person.is_over() && !was_over {
            self.memories
                .insert(person.user.clone(), person.known.clone());
        }
        moved
    }

    fn trouble(&mut self) {
        let Some(number) = self.somebody() else {
            return;
        };
        // Weights are those of a step; this is one step in many.
        let link = self.stage.network.link(number);
        if self.stage.prng.chance(self.stage.weights.half_close * 5) {
            self.people[number].hang_up(link);
            self.judge.borrow_mut().gone(number);
        } else if self.stage.prng.chance(self.stage.weights.reset * 5) {
            self.stage.network.reset(number, &mut self.stage.prng);
        } else if self.stage.prng.chance(20) {
            self.people[number].leave(link);
        }
    }

    /// One round of a world without troubles. `false` if nothing is left to happen.
    fn round(&mut self) -> bool {
        let mut busy = !self.stage.service.is_idle();
        self.stage.work();
        for station in 0..self.stage.stations.len() {
            busy |= self.stage.turn(station);
        }
        for person in 0..self.people.len() {
            busy |= self.pump(person);
        }
        busy || self.stage.is_under_way()
    }

    fn rest(&mut self) {
        // A release takes its time by chance: quiet is several quiet rounds.
        let mut quiet = 0;
        for _ in 0..ROUNDS_MAX {
            quiet = if self.round() { 0 } else { quiet + 1 };
            if quiet == 5 {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    /// Time passes, second by second.
    fn wait(&mut self, duration: Duration) {
        for _ in 0..duration.as_secs() {
            self.stage.clock.advance_ms(1000);
            self.rest();
        }
    }

    /// The troubles end, everybody reads: all that is due arrives.
    fn heal(&mut self) {
        self.stage.heal();
        self.people.iter_mut().for_each(Person::wake);
        self.rest();
        // Who may come back has left, and what waits for a second to pass is told.
        self.wait(self.settings.app.presence.leave_delay + Duration::from_secs(3));
        let users = (0..self.settings.users).map(|user| format!("user-{user}"));
        let users: Vec<String> = users.collect();
        let truth = Truth::find(&mut self.stage, &users);
        truth.judge(&mut self.judge.borrow_mut());
    }

    /// Everybody leaves, and what lasts is ended.
    fn part(&mut self) {
        self.leave();
        let number = self.stage.connect(1 << 20);
        self.stage.network.widen();
        let place = ("/v1/connect", Profile::V1);
        self.admit(Person::at(number, "user-0".into(), Known::new(), place));
        self.rest();
        for room in ROOMS {
            let id = self.judge.borrow_mut().guest(number).ask(number, Ask::Call);
            let params = format!(r#"{{"method":"room.close","params":{{"room_id":"{room}"}}}}"#);
            self.people[number].say(&format!(r#"{{"type":"rpc","id":"{id}","data":{params}}}"#));
        }
        self.rest();
        self.leave();
    }

    fn leave(&mut self) {
        for (number, person) in self.people.iter_mut().enumerate() {
            if !person.is_over() {
                person.leave(self.stage.network.link(number));
            }
        }
        for _ in 0..ROUNDS_MAX {
            self.stage.clock.advance_ms(100);
            if !self.round() && self.stage.socket_count() == 0 {
                return;
            }
        }
        panic!("not everybody can leave");
    }

    fn finish(mut self) -> Tally {
        self.wait(Duration::from_secs(65));
        self.stage.finish();
        let judge = self.judge.borrow();
        for station in &self.stage.stations {
            let app = station.shard.app();
            let stats = app.stats();
            judge.check((stats.rooms, stats.history_bytes) == (0, 0), || {
                format!("rooms are left: {:?}", app.room_views())
            });
            judge.check(!app.has_lasting(), || {
                "somebody belongs to a room that is over".into()
            });
        }
        for room in ROOMS {
            let left = self.stage.shared.interest.shards(room);
            judge.check(left.is_empty(), || format!("interest in {room} is left"));
        }
        judge.tally
    }
}
