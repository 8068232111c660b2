//! Handlers by message type.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use hashbrown::HashMap;

use super::Ctx;
use super::protocol::{BuiltIn, Message, Rejection};
use crate::metrics::HANDLERS_MAX;

/// What is done about messages of one type. One instance per shard.
///
/// A handler runs on the shard's thread and must not block: for I/O there is [`Ctx::spawn`].
/// What it returns as an error, or a panic in it, is answered with an `error` frame and harms neither
/// the connection nor anybody else's. After a panic the same instance goes on.
pub trait Handler: 'static {
    /// The type as on the wire, 1 to 64 bytes. The types of the protocol itself may be written with
    /// `_` or `-`; others are taken as they are.
    fn message_type(&self) -> &str;

    /// Refuses what cannot be handled, before [`handle`](Handler::handle) is called.
    ///
    /// Errors: the peer is told the rejection's own code and words.
    fn validate(&self, message: &Message<'_>) -> Result<(), Rejection> {
        let _ = message;
        Ok(())
    }

    /// Handles a message.
    ///
    /// Errors: a [`Rejection`] (by `?`) is for the peer, with its own code and words. Any other
    /// error is for the log; the peer is told `handler_error`.
    fn handle(&mut self, ctx: &mut Ctx<'_>, message: &Message<'_>) -> Result<(), HandlerError>;
}

/// Why a handler did not do its work.
///
/// Made by `?` from a [`Rejection`] or any other error, or by [`HandlerError::new`] from a text.
pub struct HandlerError(Cause);

enum Cause {
    Rejected(Rejection),
    Failed(Box<dyn Error + Send + Sync>),
    Panicked(String),
}

/// What a failure looks like from outside.
pub(super) enum Blame {
    /// The peer's fault, as far as we know.
    Peer,
    /// The handler's.
    Handler,
    /// The handler's, and a bug.
    Bug,
}

impl HandlerError {
    /// A failure in words, for the log. The peer is told `handler_error` and no more.
    pub fn new(text: impl fmt::Display) -> Self {
        Self(Cause::Failed(text.to_string().into()))
    }

    pub(super) fn panicked(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Self(Cause::Panicked(
            text.unwrap_or_else(|| "no message".to_owned()),
        ))
    }

    pub(super) fn blame(&self) -> Blame {
        match self.0 {
            Cause::Rejected(_) => Blame::Peer,
            Cause::Failed(_) => Blame::Handler,
            Cause::Panicked(_) => Blame::Bug,
        }
    }

    /// What the peer is told: nothing of a failure's own text.
    pub(super) fn into_rejection(self) -> Rejection {
        match self.0 {
            Cause::Rejected(rejection) => rejection,
            Cause::Failed(_) | Cause::Panicked(_) => {
                Rejection::Handler("the handler failed".into())
            }
        }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        let error: Box<dyn Error + Send + Sync> = Box::new(error);
        Self(match error.downcast::<Rejection>() {
            Ok(rejection) => Cause::Rejected(*rejection),
            Err(error) => Cause::Failed(error),
        })
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Cause::Rejected(rejection) => rejection.fmt(f),
            Cause::Failed(error) => error.fmt(f),
            Cause::Panicked(text) => write!(f, "panicked: {text}"),
        }
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HandlerError({self})")
    }
}

/// The handlers of one shard, by message type.
pub struct Registry {
    handlers: HashMap<Box<str>, (u8, Box<dyn Handler>)>,
    /// Their types, by number. From [`HANDLERS_MAX`] on all have that number.
    names: Vec<Box<str>>,
}

/// What messages without a handler of their own count as, and those of all handlers beyond the first
/// [`HANDLERS_MAX`].
pub(super) const OTHER: u8 = {
    assert!(HANDLERS_MAX <= 255);
    #[expect(clippy::cast_possible_truncation, reason = "just looked at")]
    {
        HANDLERS_MAX as u8
    }
};

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut types: Vec<_> = self.handlers.keys().collect();
        types.sort_unstable();
        f.debug_tuple("Registry").field(&types).finish()
    }
}

impl Default for Registry {
    /// The handlers that come with Campanile: [`handlers`](super::handlers).
    fn default() -> Self {
        let mut registry = Self::empty();
        super::handlers::register_all(&mut registry);
        registry
    }
}

impl Registry {
    /// No handlers at all.
    pub fn empty() -> Self {
        Self {
            handlers: HashMap::new(),
            names: Vec::new(),
        }
    }

    /// Adds a handler; one of the same type, built in or not, is replaced.
    pub fn register(&mut self, handler: impl Handler) {
        let name: Box<str> = canonical(handler.message_type()).into();
        let number = match self.handlers.get(&name) {
            Some(&(number, _)) => number,
            None => self.number(&name),
        };
        self.handlers.insert(name, (number, Box::new(handler)));
    }

    /// A number for a new type.
    fn number(&mut self, name: &str) -> u8 {
        let number = u8::try_from(self.names.len()).unwrap_or(OTHER).min(OTHER);
        if number < OTHER {
            self.names.push(name.into());
        }
        number
    }

    /// What the handler of a number is called; `other` if several share it.
    pub(super) fn name(&self, number: u8) -> &str {
        self.names
            .get(usize::from(number))
            .map_or("other", |name| name)
    }

    /// The number of the handler of a type.
    pub(super) fn number_of(&self, message_type: &str) -> Option<u8> {
        let handler = self.handlers.get(canonical(message_type));
        handler.map(|(number, _)| *number)
    }

    /// The types by their handlers' numbers.
    pub(super) fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// Whether there is a handler of that type.
    pub fn contains(&self, message_type: &str) -> bool {
        self.handlers.contains_key(canonical(message_type))
    }

    /// Has the message handled, and catches a panic. Notes how long it took.
    pub(super) fn handle(
        &mut self,
        ctx: &mut Ctx<'_>,
        message: &Message<'_>,
    ) -> Result<(), HandlerError> {
        let Some((number, handler)) = self.handlers.get_mut(message.message_type()) else {
            ctx.core().handled(OTHER);
            return Err(Rejection::UnknownType.into());
        };
        let handled = catching(|| {
            handler.validate(message)?;
            handler.handle(ctx, message)
        });
        ctx.core().handled(*number);
        handled
    }
}

/// A type as [`Message::message_type`] gives it.
fn canonical(message_type: &str) -> &str {
    match BuiltIn::from_name(message_type) {
        Some(built_in) => built_in.as_str(),
        None => message_type,
    }
}

/// Runs code of a handler and makes an error of a panic.
///
/// `AssertUnwindSafe`: what a panic can leave half done is the handler's own state, and a scratch
/// buffer of ours that is cleared before use.
pub(super) fn catching(run: impl FnOnce() -> Result<(), HandlerError>) -> Result<(), HandlerError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(HandlerError::panicked(&*panic)))
}
