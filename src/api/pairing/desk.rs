//! Where pairings are made and changed: one after the other, kept before they are told.
//!
//! ```text
//!  wish ─► turn ─► plan ─► store: commit ─► apply ─► push to both sides ─► answer
//!                   └► refused
//! ```
//!
//! A turn is one change from its plan to its pushes, and there is one turn at a time: so two joins have
//! one winner, and players are told of changes in their order. Reading waits for nobody. Expiry is a turn
//! like any other, taken by a timer.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::Notify;

use crate::id::UserId;
use crate::pairing::{
    Change, Draft, Guesser, Outcome, Pairing, PairingError, PairingId, PairingOptions, Pairings,
    PairingsPage, Patch, RANDOM_BYTES, Status, Telling, UnreadableRecord,
};
use crate::realtime::{Mail, Realtime};
use crate::server::ServerHandle;
use crate::store::{PAGE_MAX, Store, StoreBusy, StoreError};
use crate::time::{Clock, Now};

/// Longest wait of the timer: the wall clock, by which pairings expire, may be set meanwhile.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How long the timer waits before it tries again what the store has refused.
const RETRY: Duration = Duration::from_secs(1);
/// Most pairings that one turn of the timer expires, and forgets.
const DUE_MAX: usize = 256;
/// How often a push is tried while its shard is busy, and the time in between.
const PUSH_TRIES: u32 = 100;
const PUSH_RETRY: Duration = Duration::from_millis(5);

/// Why pairings cannot be read at the start.
#[derive(Debug, Error)]
pub enum OpenPairingsError {
    /// The store did not answer.
    #[error("the pairings cannot be read: {0}")]
    Store(#[from] StoreError),
    /// The store's queue is full before anything has begun.
    #[error("the pairings cannot be read: {0}")]
    Busy(#[from] StoreBusy),
    /// There is something else in their place.
    #[error(
        "{0}; restore the store's file from a backup, or delete this row of its table `pairings`"
    )]
    Record(#[from] UnreadableRecord),
}

/// Why a wish came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DeskError {
    /// The pairing's own rules.
    #[error("{0}")]
    Pairing(#[from] PairingError),
    /// The store is behind or fails, so that the change cannot be kept, or the system has no random
    /// numbers. Nothing has changed; later it may.
    #[error("pairings cannot be kept now")]
    Unavailable,
}

impl From<StoreBusy> for DeskError {
    fn from(_: StoreBusy) -> Self {
        Self::Unavailable
    }
}

impl From<StoreError> for DeskError {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "a pairing could not be stored");
        Self::Unavailable
    }
}

/// All pairings, read from the store, before anybody asks for them.
#[derive(Debug)]
pub struct PairingBook {
    pairings: Pairings,
    store: Option<Store>,
}

impl PairingBook {
    /// Reads the pairings that are kept. Without a store they last as long as the process.
    ///
    /// Blocks until the store has answered: not for a thread that runs asynchronous tasks.
    ///
    /// Errors: [`OpenPairingsError`].
    pub fn open(options: PairingOptions, store: Option<Store>) -> Result<Self, OpenPairingsError> {
        let mut pairings = Pairings::new(options);
        let mut after = None;
        while let Some(store) = &store {
            let page = store.pairings(after, PAGE_MAX)?.wait()?;
            let Some(&(last, _)) = page.last() else { break };
            for (id, record) in page {
                pairings.insert(Pairing::from_record(PairingId::from_u128(id), &record)?);
            }
            after = Some(last);
        }
        Ok(Self { pairings, store })
    }

    /// Opens the desk whose pushes go to the connections of `server`.
    ///
    /// Panics: outside of a tokio runtime, which its timer needs.
    pub fn serve(self, server: ServerHandle<Realtime>) -> PairingDesk {
        self.start(move |telling: &Telling| push(&server, telling))
    }

    /// Opens the desk. `push` says whether it has taken a message, or is busy and wants it again.
    ///
    /// Panics: outside of a tokio runtime.
    fn start(self, push: impl Fn(&Telling) -> bool + Send + Sync + 'static) -> PairingDesk {
        let desk = PairingDesk(Arc::new(Inner {
            pairings: Mutex::new(self.pairings),
            turn: tokio::sync::Mutex::new(()),
            store: self.store,
            clock: Clock::start(),
            push: Box::new(push),
            has_deadline: Notify::new(),
        }));
        tokio::spawn(Arc::clone(&desk.0).keep_time());
        desk
    }
}

/// Sends a message to a player's connections. `false`: the shard is busy.
fn push(server: &ServerHandle<Realtime>, telling: &Telling) -> bool {
    let Telling {
        player,
        message_type,
        payload,
    } = telling;
    match Mail::send_to_user(player, message_type, payload) {
        Ok(mail) => server.mail(server.home(player), mail).is_ok(),
        Err(error) => {
            tracing::error!(%error, "a pairing could not be told");
            true
        }
    }
}

/// The way to the pairings for everybody who handles a request. Clones are the same desk.
#[derive(Clone)]
pub struct PairingDesk(Arc<Inner>);

impl fmt::Debug for PairingDesk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PairingDesk({} pairings)", self.0.pairings().len())
    }
}

struct Inner {
    pairings: Mutex<Pairings>,
    /// Whose turn it is to change something.
    turn: tokio::sync::Mutex<()>,
    store: Option<Store>,
    clock: Clock,
    push: Box<dyn Fn(&Telling) -> bool + Send + Sync>,
    /// Something may be due earlier than the timer knows.
    has_deadline: Notify,
}

impl PairingDesk {
    /// Makes a pairing.
    ///
    /// Errors: as [`Pairings::create`], and [`DeskError::Unavailable`], as with all that changes something.
    pub async fn create(&self, player: UserId, draft: Draft) -> Result<Pairing, DeskError> {
        let mut random = [0; RANDOM_BYTES];
        getrandom::fill(&mut random).map_err(|error| {
            tracing::error!(%error, "the system has no random numbers");
            DeskError::Unavailable
        })?;
        let plan = move |pairings: &mut Pairings, now: Now| {
            let change = pairings.create(&player, draft, &random, now.unix_ms)?;
            Ok(Outcome::Changed(change))
        };
        self.take_turn(plan).await
    }

    /// Joins a pairing by its name.
    ///
    /// Errors: as [`Pairings::join`].
    pub async fn join(&self, player: UserId, id: PairingId) -> Result<Pairing, DeskError> {
        let plan = move |pairings: &mut Pairings, now: Now| pairings.join(&player, id, now.unix_ms);
        self.take_turn(plan).await
    }

    /// Joins a pairing by its code, from an address.
    ///
    /// Errors: as [`Pairings::join_by_code`].
    pub async fn join_by_code(
        &self,
        player: UserId,
        address: Option<std::net::IpAddr>,
        code: String,
    ) -> Result<Pairing, DeskError> {
        let plan = move |pairings: &mut Pairings, now: Now| {
            let by = Guesser {
                player: &player,
                address,
                now_ms: now.monotonic_ms,
            };
            pairings.join_by_code(by, &code, now.unix_ms)
        };
        self.take_turn(plan).await
    }

    /// Changes a pairing's status, name or metadata.
    ///
    /// Errors: as [`Pairings::change`].
    pub async fn change(
        &self,
        player: UserId,
        id: PairingId,
        patch: Patch,
    ) -> Result<Pairing, DeskError> {
        let plan = move |pairings: &mut Pairings, now: Now| {
            pairings.change(&player, id, patch, now.unix_ms)
        };
        self.take_turn(plan).await
    }

    /// Ends a pairing.
    ///
    /// Errors: as [`Pairings::expire`].
    pub async fn expire(&self, player: UserId, id: PairingId) -> Result<Pairing, DeskError> {
        let plan =
            move |pairings: &mut Pairings, now: Now| pairings.expire(&player, id, now.unix_ms);
        self.take_turn(plan).await
    }

    /// A pairing of a player.
    ///
    /// Errors: [`PairingError::NotFound`].
    pub fn get(&self, player: &str, id: PairingId) -> Result<Pairing, PairingError> {
        let now_ms = self.0.clock.now().unix_ms;
        self.0.pairings().get(player, id, now_ms)
    }

    /// A page of a player's pairings: [`Pairings::list`].
    pub fn list(
        &self,
        player: &str,
        status: Option<Status>,
        before: Option<PairingId>,
        limit: usize,
    ) -> PairingsPage {
        let now_ms = self.0.clock.now().unix_ms;
        let pairings = self.0.pairings();
        pairings.list(player, status, before, limit, now_ms)
    }

    /// Does a turn to its end, also if whoever asked does not wait for it: what is stored is applied.
    async fn take_turn(
        &self,
        plan: impl FnOnce(&mut Pairings, Now) -> Result<Outcome, PairingError> + Send + 'static,
    ) -> Result<Pairing, DeskError> {
        let inner = Arc::clone(&self.0);
        let turn = tokio::spawn(async move { inner.take_turn(plan).await });
        // Otherwise the runtime is ending, or the turn has panicked.
        turn.await.unwrap_or(Err(DeskError::Unavailable))
    }
}

impl Inner {
    fn pairings(&self) -> MutexGuard<'_, Pairings> {
        // Whoever panics with the lock has planned or looked; what is applied is applied whole.
        self.pairings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take_turn(
        &self,
        plan: impl FnOnce(&mut Pairings, Now) -> Result<Outcome, PairingError>,
    ) -> Result<Pairing, DeskError> {
        let _turn = self.turn.lock().await;
        let planned = plan(&mut self.pairings(), self.clock.now());
        match planned? {
            Outcome::Unchanged(pairing) => Ok(pairing),
            Outcome::Changed(change) => {
                self.carry_out(std::slice::from_ref(&change)).await?;
                self.has_deadline.notify_one();
                Ok(change.pairing)
            }
        }
    }

    /// Keeps, applies and tells changes. For whoever has the turn.
    async fn carry_out(&self, changes: &[Change]) -> Result<(), DeskError> {
        if let Some(store) = &self.store {
            let record = |change: &Change| {
                let Change { pairing, .. } = change;
                (pairing.id.as_u128(), pairing.to_record())
            };
            let forgotten = changes.iter().flat_map(|change| &change.forgotten);
            let forgotten = forgotten.map(|id| id.as_u128()).collect();
            let records = changes.iter().map(record).collect();
            store.put_pairings(records, forgotten)?.await?;
        }
        {
            let mut pairings = self.pairings();
            for change in changes {
                pairings.apply(change);
            }
        }
        for telling in changes.iter().flat_map(Change::tellings) {
            self.tell(&telling).await;
        }
        Ok(())
    }

    /// Pushes a message, patiently: a shard may be behind with its work for a moment.
    async fn tell(&self, telling: &Telling) {
        for _ in 0..PUSH_TRIES {
            if (self.push)(telling) {
                return;
            }
            tokio::time::sleep(PUSH_RETRY).await;
        }
        tracing::warn!(player = %telling.player, "a pairing could not be told: the shard is busy");
    }

    /// Expires what is due, and forgets what was kept long enough, for ever.
    async fn keep_time(self: Arc<Self>) {
        loop {
            let wait = match self.do_due().await {
                Ok(()) => self.until_due(),
                Err(_) => RETRY,
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.has_deadline.notified() => {}
            }
        }
    }

    fn until_due(&self) -> Duration {
        let now_ms = self.clock.now().unix_ms;
        let due = self.pairings().next_due_ms();
        due.map_or(WAIT_MAX, |due_ms| {
            Duration::from_millis(due_ms.saturating_sub(now_ms)).min(WAIT_MAX)
        })
    }

    async fn do_due(&self) -> Result<(), DeskError> {
        let now_ms = self.clock.now().unix_ms;
        loop {
            let _turn = self.turn.lock().await;
            let due = self.pairings().expire_due(now_ms, DUE_MAX);
            if due.is_empty() {
                break;
            }
            self.carry_out(&due).await?;
        }
        loop {
            let _turn = self.turn.lock().await;
            let due = self.pairings().forget_due(now_ms, DUE_MAX);
            if due.is_empty() {
                return Ok(());
            }
            if let Some(store) = &self.store {
                let forgotten = due.iter().map(|id| id.as_u128()).collect();
                store.put_pairings(Vec::new(), forgotten)?.await?;
            }
            let mut pairings = self.pairings();
            for id in due {
                pairings.remove(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;
    use crate::store::{StoreOptions, StoreThread};
    use crate::testing::StoreFolder;

    fn open_store(folder: &StoreFolder) -> (Store, StoreThread) {
        Store::open(&StoreOptions::new(folder.path())).unwrap()
    }

    /// A desk, and what it pushes.
    fn start(book: PairingBook) -> (PairingDesk, UnboundedReceiver<Telling>) {
        let (pushed, pushes) = unbounded_channel();
        let desk = book.start(move |telling| pushed.send(telling.clone()).is_ok());
        (desk, pushes)
    }

    fn in_memory() -> PairingBook {
        PairingBook::open(PairingOptions::default(), None).unwrap()
    }

    fn for_ms(ms: u64) -> Draft {
        Draft {
            expires_in: Some(Duration::from_millis(ms)),
            ..Draft::default()
        }
    }

    #[tokio::test]
    async fn two_joins_at_once_have_one_winner() {
        let (desk, mut pushes) = start(in_memory());
        for round in 0..200 {
            let made = desk.create(format!("p{round}").into(), Draft::default());
            let made = made.await.unwrap();
            let code = made.code.as_str().to_owned();
            let joins = tokio::join!(
                tokio::spawn({
                    let (desk, id) = (desk.clone(), made.id);
                    async move { desk.join("a".into(), id).await }
                }),
                tokio::spawn({
                    let desk = desk.clone();
                    async move { desk.join_by_code("b".into(), None, code).await }
                }),
            );
            let joins = [joins.0.unwrap(), joins.1.unwrap()];
            let winner = joins.iter().flatten().next().unwrap();
            let loser = joins.iter().find_map(|join| join.as_ref().err()).unwrap();
            // The loser has given a code in vain, and after five of these it does not get so far.
            let is_late = matches!(
                loser,
                DeskError::Pairing(PairingError::TooManyGuesses { .. })
            );
            assert!(*loser == PairingError::Taken.into() || is_late, "{loser}");
            assert_eq!(desk.get("p0", made.id).is_ok(), round == 0);
            let partner = winner.partner.clone().unwrap();
            assert_eq!(desk.get(&partner, made.id).as_ref(), Ok(winner));
            let told: Vec<_> = [
                pushes.recv().await,
                pushes.recv().await,
                pushes.recv().await,
            ]
            .map(|telling| telling.unwrap().player.to_string())
            .into();
            assert_eq!(told[2], *partner, "and only the winner is told");
        }
        assert!(pushes.try_recv().is_err());
    }

    #[tokio::test]
    async fn the_timer_expires_and_forgets() {
        let options = PairingOptions {
            keep_expired: Duration::from_millis(30),
            ..PairingOptions::default()
        };
        let (desk, mut pushes) = start(PairingBook::open(options, None).unwrap());
        let late = desk.create("p1".into(), for_ms(3_600_000)).await.unwrap();
        let made = desk.create("p1".into(), for_ms(20)).await.unwrap();
        for status in ["pending", "pending", "expired"] {
            let push = pushes.recv().await.unwrap();
            assert!(
                push.payload.contains(&format!("\"status\":\"{status}\"")),
                "{push:?}"
            );
        }
        while desk.get("p1", made.id).is_ok() {
            tokio::task::yield_now().await;
        }
        assert_eq!(desk.list("p1", None, None, 10).pairings, [late]);
    }

    #[test]
    fn a_restart_keeps_pairings_codes_and_deadlines() {
        let folder = StoreFolder::new();
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_time().build().unwrap()
        };
        let (store, thread) = open_store(&folder);
        let book = PairingBook::open(PairingOptions::default(), Some(store)).unwrap();
        let made = runtime().block_on(async {
            let (desk, _pushes) = start(book);
            let waiting = desk.create("p1".into(), Draft::default()).await.unwrap();
            let soon = desk.create("p1".into(), Draft::default()).await.unwrap();
            let active = desk.create("p1".into(), Draft::default()).await.unwrap();
            let active = desk.join("p2".into(), active.id).await.unwrap();
            [waiting, soon, active]
        });
        thread.stop();

        // While the server is down, one of them comes to its deadline.
        let (store, thread) = open_store(&folder);
        let overdue = Pairing {
            expires_ms: Some(made[1].created_ms),
            ..made[1].clone()
        };
        let record = vec![(overdue.id.as_u128(), overdue.to_record())];
        let put = store.put_pairings(record, Vec::new());
        put.unwrap().wait().unwrap();
        let book = PairingBook::open(PairingOptions::default(), Some(store)).unwrap();
        runtime().block_on(async {
            let (desk, mut pushes) = start(book);
            let [waiting, soon, active] = &made;
            assert_eq!(desk.get("p2", active.id).as_ref(), Ok(active));
            assert_eq!(desk.get("p1", waiting.id).as_ref(), Ok(waiting));
            let listed = desk.list("p1", Some(Status::Expired), None, 10);
            assert_eq!(listed.pairings[0].id, soon.id);
            let code = waiting.code.as_str().to_owned();
            let joined = desk.join_by_code("p3".into(), None, code).await.unwrap();
            assert_eq!((joined.id, joined.status), (waiting.id, Status::Active));
            let mut told = BTreeMap::new();
            while told.len() < 3 {
                let Some(push) = pushes.recv().await else {
                    break;
                };
                let object: serde_json::Value = serde_json::from_str(&push.payload).unwrap();
                told.insert(
                    (object["id"].to_string(), push.player),
                    object["status"].clone(),
                );
            }
            assert_eq!(told[&(format!("\"{}\"", soon.id), "p1".into())], "expired");
        });
        thread.stop();
    }

    #[test]
    fn what_is_no_pairing_ends_the_start_and_is_named() {
        let folder = StoreFolder::new();
        let (store, _thread) = open_store(&folder);
        let put = store.put_pairings(vec![(7, "{}".into())], Vec::new());
        put.unwrap().wait().unwrap();
        let error = PairingBook::open(PairingOptions::default(), Some(store)).unwrap_err();
        let id = PairingId::from_u128(7).to_string();
        assert!(error.to_string().contains(&id), "{error}");
    }

    #[tokio::test]
    async fn what_cannot_be_kept_has_not_happened() {
        let folder = StoreFolder::new();
        let (store, thread) = open_store(&folder);
        let book = PairingBook {
            pairings: Pairings::new(PairingOptions::default()),
            store: Some(store),
        };
        let (desk, mut pushes) = start(book);
        thread.stop();
        let refused = desk.create("p1".into(), Draft::default()).await;
        assert_eq!(refused, Err(DeskError::Unavailable));
        assert_eq!(desk.list("p1", None, None, 10).pairings, []);
        assert!(pushes.try_recv().is_err());
    }
}
