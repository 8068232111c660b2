//! `load fanout`: the first connections publish, and all of them get everything.

use std::sync::Arc;

use super::crowd::Crowd;
use super::fault::Fault;
use super::message::Payloads;
use super::relay::{Pattern, Relay, Style};
use super::report::Report;
use super::{Common, FanoutArgs, traffic};

/// Most pairs of publisher and subscriber: four bytes are kept for each.
const PAIRS_MAX: usize = 1 << 29;

pub(crate) fn run(args: &FanoutArgs, common: &Common, report: &mut Report) -> Result<(), Fault> {
    let (publishers, subscribers) = (args.publishers, args.subscribers);
    if publishers > subscribers {
        let what = "publishers are among the subscribers, so there cannot be more of them";
        return Err(Fault::Impossible(what.to_owned()));
    }
    if publishers.saturating_mul(subscribers) > PAIRS_MAX {
        let what = format!("{publishers} publishers of {subscribers} subscribers are too many");
        return Err(Fault::Impossible(what));
    }
    let style = Style {
        pattern: Pattern::FanOut {
            senders: publishers,
        },
        pace: args.pace.pace(),
        messages: args.pace.messages,
        connections: subscribers,
        total_order: args.total_order,
        is_greeted: false,
    };
    let bytes = common.payload_bytes(64);
    let payloads = Arc::new(Payloads::new(bytes));
    let plan = common.plan(subscribers, bytes)?;
    let crowd = Crowd::start(plan, common.handshakes()?, |share, capacity, _| {
        Relay::new(style, Arc::clone(&payloads), share, capacity)
    })?;
    report.count("publishers", publishers as u64);
    traffic::run(crowd, common.length(args.pace.messages), report, |_| Ok(()))
}
