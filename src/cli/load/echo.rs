//! `load echo`: every connection sends and gets back what it has sent.

use std::sync::Arc;

use super::crowd::Crowd;
use super::fault::Fault;
use super::message::Payloads;
use super::relay::{Pattern, Relay, Style};
use super::report::Report;
use super::{Common, EchoArgs, traffic};

pub(crate) fn run(args: &EchoArgs, common: &Common, report: &mut Report) -> Result<(), Fault> {
    let style = Style {
        pattern: Pattern::Echo,
        pace: args.pace.pace(),
        messages: args.pace.messages,
        connections: args.connections,
        total_order: false,
        is_greeted: false,
    };
    let bytes = common.payload_bytes(64);
    let payloads = Arc::new(Payloads::new(bytes));
    let plan = common.plan(args.connections, bytes)?;
    let crowd = Crowd::start(plan, common.handshakes()?, |share, capacity, _| {
        Relay::new(style, Arc::clone(&payloads), share, capacity)
    })?;
    traffic::run(crowd, common.length(args.pace.messages), report, |_| Ok(()))
}
