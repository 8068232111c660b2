//! Random commands against a model that is a list.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const PLAYERS: [&str; 4] = ["ann", "bob", "cid", "dan"];
const KEEP_MS: u64 = 20 * MINUTE;

/// What somebody does. Pairings are meant by their number, modulo those there were.
#[derive(Clone, Debug)]
enum Command {
    Create {
        player: usize,
        target: Option<usize>,
        minutes: u64,
    },
    Join {
        player: usize,
        pairing: usize,
    },
    JoinByCode {
        player: usize,
        pairing: usize,
    },
    /// All players want the same one: only one may win.
    Race {
        pairing: usize,
    },
    Expire {
        player: usize,
        pairing: usize,
    },
    Activate {
        player: usize,
        pairing: usize,
    },
    Pass {
        minutes: u64,
    },
    /// Everything is written down and read again.
    Restart,
}

fn command() -> impl Strategy<Value = Command> {
    let (player, pairing) = (0..PLAYERS.len(), 0..64_usize);
    let both = (player.clone(), pairing.clone());
    prop_oneof![
        4 => (player.clone(), proptest::option::of(player), 1..15_u64)
            .prop_map(|(player, target, minutes)| Command::Create { player, target, minutes }),
        3 => both.clone().prop_map(|(player, pairing)| Command::Join { player, pairing }),
        3 => both.clone().prop_map(|(player, pairing)| Command::JoinByCode { player, pairing }),
        1 => pairing.prop_map(|pairing| Command::Race { pairing }),
        2 => both.clone().prop_map(|(player, pairing)| Command::Expire { player, pairing }),
        1 => both.prop_map(|(player, pairing)| Command::Activate { player, pairing }),
        2 => (0..6_u64).prop_map(|minutes| Command::Pass { minutes }),
        1 => Just(Command::Restart),
    ]
}

#[derive(Clone, Debug)]
struct Simple {
    id: PairingId,
    code: Code,
    initiator: usize,
    target: Option<usize>,
    partner: Option<usize>,
    status: Status,
    deadline: u64,
    ended: u64,
}

struct World {
    pairings: Pairings,
    model: Vec<Simple>,
    now: u64,
}

fn options() -> PairingOptions {
    let generous = WrongCodes {
        burst: u32::MAX,
        interval: Duration::ZERO,
    };
    PairingOptions {
        pending_per_player_max: 3,
        keep_expired: Duration::from_millis(KEEP_MS),
        wrong_codes_per_player: generous,
        wrong_codes_per_address: generous,
        ..PairingOptions::default()
    }
}

impl World {
    fn of(&self, number: usize) -> Option<Simple> {
        let count = self.model.len();
        (count > 0).then(|| self.model[number % count].clone())
    }

    fn create(&mut self, player: usize, target: Option<usize>, minutes: u64) {
        let draft = Draft {
            target: target.map(|target| user(PLAYERS[target])),
            expires_in: Some(Duration::from_secs(minutes * 60)),
            ..Draft::default()
        };
        let change = self
            .pairings
            .create(&user(PLAYERS[player]), draft, &random(), self.now);
        let pending = |of: &&Simple| of.initiator == player && of.status == Status::Pending;
        if target == Some(player) {
            return assert!(matches!(change, Err(PairingError::Invalid(_))));
        }
        if self.model.iter().filter(pending).count() == 3 {
            return assert!(matches!(
                change,
                Err(PairingError::TooManyPending { limit: 3, .. })
            ));
        }
        let change = change.unwrap();
        self.pairings.apply(&change);
        let Pairing { id, code, .. } = change.pairing;
        assert!(
            self.model.iter().all(|of| of.code != code),
            "a code is used once"
        );
        self.model.push(Simple {
            id,
            code,
            initiator: player,
            target,
            partner: None,
            status: Status::Pending,
            deadline: self.now + minutes * MINUTE,
            ended: 0,
        });
    }

    fn join(&mut self, player: usize, number: usize, by_code: bool) {
        let Some(of) = self.of(number) else { return };
        let joiner = user(PLAYERS[player]);
        let outcome = if by_code {
            let code = of.code.as_str();
            self.pairings.join_by_code(by(&joiner), code, self.now)
        } else {
            self.pairings.join(&joiner, of.id, self.now)
        };
        let is_strange = of
            .target
            .is_some_and(|target| target != player && of.initiator != player);
        let expected = match of.status {
            _ if is_strange => Err(PairingError::NotFound),
            Status::Expired => Err(PairingError::Expired),
            _ if of.initiator == player => Err(PairingError::Own),
            Status::Active if of.partner == Some(player) => Ok(false),
            Status::Active => Err(PairingError::Taken),
            Status::Pending => Ok(true),
        };
        let changed = outcome
            .clone()
            .map(|outcome| matches!(outcome, Outcome::Changed(_)));
        assert_eq!(changed, expected, "{of:?} by {player}");
        if expected == Ok(true) {
            done(&mut self.pairings, outcome);
            let of = self
                .model
                .iter_mut()
                .find(|simple| simple.id == of.id)
                .unwrap();
            (of.status, of.partner) = (Status::Active, Some(player));
        }
    }

    fn expire(&mut self, player: usize, number: usize, patch: Patch) {
        let Some(of) = self.of(number) else { return };
        let status = patch.status;
        let outcome = self
            .pairings
            .change(PLAYERS[player], of.id, patch, self.now);
        let other = of.partner.or(of.target);
        let expected = match (of.status, status) {
            _ if of.initiator != player && other != Some(player) => Err(PairingError::NotFound),
            (Status::Expired, _) => Err(PairingError::Expired),
            (Status::Pending, Some(Status::Active)) => Err(PairingError::NotJoined),
            (Status::Active, Some(Status::Active)) => Ok(false),
            _ => Ok(true),
        };
        let changed = outcome
            .clone()
            .map(|outcome| matches!(outcome, Outcome::Changed(_)));
        assert_eq!(changed, expected, "{of:?} by {player}");
        if expected == Ok(true) {
            let change = done(&mut self.pairings, outcome);
            let mut sides: Vec<_> = told(&change).into_iter().map(|told| told.0).collect();
            sides.dedup();
            let both = [Some(of.initiator), other].into_iter().flatten();
            let both: Vec<_> = both.map(|side| PLAYERS[side].to_owned()).collect();
            assert_eq!(sides[..both.len()], both, "both sides are told");
            self.end(of.id, self.now);
        }
    }

    fn end(&mut self, id: PairingId, ended: u64) {
        let of = self.model.iter_mut().find(|of| of.id == id).unwrap();
        (of.status, of.ended) = (Status::Expired, ended);
    }

    fn pass(&mut self, minutes: u64) {
        self.now += minutes * MINUTE;
        let mut expired = BTreeSet::new();
        loop {
            let due = self.pairings.expire_due(self.now, 2);
            if due.is_empty() {
                break;
            }
            for change in due {
                assert_eq!(change.status(), Status::Expired);
                assert!(expired.insert(change.pairing.id));
                self.pairings.apply(&change);
            }
        }
        for of in &mut self.model {
            let is_due = of.status == Status::Pending && of.deadline <= self.now;
            assert_eq!(expired.contains(&of.id), is_due, "{of:?}");
            if is_due {
                (of.status, of.ended) = (Status::Expired, of.deadline);
            }
        }
        for id in self.pairings.forget_due(self.now, usize::MAX) {
            assert!(self.pairings.remove(id));
        }
        let now = self.now;
        let is_kept = |of: &Simple| of.status != Status::Expired || of.ended + KEEP_MS > now;
        self.model.retain(is_kept);
    }

    fn restart(&mut self) {
        let mut pairings = Pairings::new(options());
        for of in &self.model {
            let kept = self.pairings.find(of.id).unwrap();
            pairings.insert(Pairing::from_record(of.id, &kept.to_record()).unwrap());
        }
        self.pairings = pairings;
    }

    fn check(&self) {
        assert_eq!(self.pairings.len(), self.model.len());
        let is_open = |of: &&Simple| of.status == Status::Pending && of.target.is_none();
        assert_eq!(
            self.pairings.open,
            self.model.iter().filter(is_open).count()
        );
        for (number, player) in PLAYERS.iter().enumerate() {
            let page = self.pairings.list(player, None, None, usize::MAX, self.now);
            let listed: BTreeSet<_> = page.pairings.iter().map(|of| (of.id, of.status)).collect();
            let concerned = self
                .model
                .iter()
                .filter(|of| of.initiator == number || of.partner.or(of.target) == Some(number));
            let expected: BTreeSet<_> = concerned.map(|of| (of.id, of.status)).collect();
            assert_eq!(listed, expected, "{player}");
            let (mut walked, mut before) = (Vec::new(), None);
            loop {
                let page = self.pairings.list(player, None, before, 2, self.now);
                assert!(
                    page.next.is_none() || page.pairings.len() == 2,
                    "full but the last"
                );
                walked.extend(page.pairings);
                before = page.next;
                if before.is_none() {
                    break;
                }
            }
            assert_eq!(walked, page.pairings, "page by page the same");
        }
        let deadlines = self.model.iter().filter_map(|of| match of.status {
            Status::Pending => Some(of.deadline),
            Status::Active => None,
            Status::Expired => Some(of.ended + KEEP_MS),
        });
        assert_eq!(self.pairings.next_due_ms(), deadlines.min());
    }
}

proptest! {
    #[test]
    fn pairings_do_what_a_list_would(commands in proptest::collection::vec(command(), 1..120)) {
        let mut world = World {
            pairings: Pairings::new(options()),
            model: Vec::new(),
            now: NOW,
        };
        for command in commands {
            match command {
                Command::Create { player, target, minutes } => world.create(player, target, minutes),
                Command::Join { player, pairing } => world.join(player, pairing, false),
                Command::JoinByCode { player, pairing } => world.join(player, pairing, true),
                Command::Race { pairing } => {
                    for player in 0..PLAYERS.len() {
                        world.join(player, pairing, player % 2 == 0);
                    }
                }
                Command::Expire { player, pairing } => {
                    world.expire(player, pairing, to(Status::Expired));
                }
                Command::Activate { player, pairing } => {
                    world.expire(player, pairing, to(Status::Active));
                }
                Command::Pass { minutes } => world.pass(minutes),
                Command::Restart => world.restart(),
            }
            world.check();
        }
    }
}
