//! `rpc`: calls a method and is answered with its result.

use std::fmt;

use hashbrown::HashMap;
use serde::de::DeserializeOwned;

use super::methods;
use crate::realtime::protocol::{BuiltIn, Members, Message, Rejection};
use crate::realtime::{Ctx, Handler, HandlerError};

/// A remote procedure. One instance per shard.
///
/// It answers with [`Ctx::result`] or [`Ctx::result_value`], now or after [`Ctx::spawn`], whose work
/// must be done within `rpc_timeout`. What it returns as an error is answered as a handler's is.
pub trait Method: 'static {
    /// The name by which it is called, such as `stock.price`.
    fn name(&self) -> &str;

    /// Answers a call.
    ///
    /// Errors: as those of [`Handler::handle`].
    fn call(&mut self, ctx: &mut Ctx<'_>, params: &Params<'_>) -> Result<(), HandlerError>;
}

/// What a method is called with.
#[derive(Clone, Copy, Debug)]
pub struct Params<'a> {
    json: Option<&'a str>,
    binary: Option<&'a [u8]>,
}

impl<'a> Params<'a> {
    /// As they stand in JSON; `None` if there are none.
    pub fn raw(&self) -> Option<&'a str> {
        self.json
    }

    /// The bytes of a call by a binary message.
    pub fn binary(&self) -> Option<&'a [u8]> {
        self.binary
    }

    /// The members of the object that they are; none if there are no parameters.
    ///
    /// Errors: [`Rejection::InvalidMember`] if they are something else.
    pub fn members(&self) -> Result<Members<'a>, Rejection> {
        let json = self.json.filter(|json| *json != "null").unwrap_or("{}");
        if json.starts_with('{') {
            Members::parse(json)
        } else {
            Err(Rejection::InvalidMember("params".into()))
        }
    }

    /// As a value of type `T`; no parameters are those of an empty object.
    ///
    /// Errors: [`Rejection::InvalidPayload`] with what does not fit.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, Rejection> {
        let json = self.json.filter(|json| *json != "null").unwrap_or("{}");
        serde_json::from_str(json).map_err(|error| Rejection::InvalidPayload(error.to_string()))
    }
}

/// Calls methods: those that come with Campanile (`room.get`, `room.list`, `room.create`,
/// `room.update`, `room.history`, `room.members`, `room.kick`, `room.close`, `room.add_member`,
/// `room.remove_member`, `user.connections`, `server.time`) and those that are added.
pub struct Rpc {
    methods: HashMap<Box<str>, Box<dyn Method>>,
}

impl Default for Rpc {
    /// With the methods that come with Campanile.
    fn default() -> Self {
        let mut rpc = Self::empty();
        methods::add_all(&mut rpc);
        rpc
    }
}

impl fmt::Debug for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<_> = self.methods.keys().collect();
        names.sort_unstable();
        f.debug_tuple("Rpc").field(&names).finish()
    }
}

impl Rpc {
    /// Without any methods.
    pub fn empty() -> Self {
        Self {
            methods: HashMap::new(),
        }
    }

    /// Adds a method; one of the same name is replaced:
    /// `Realtime::new(options).with(Rpc::default().method(StockPrice))`.
    #[must_use]
    pub fn method(mut self, method: impl Method) -> Self {
        self.add(method);
        self
    }

    pub(super) fn add(&mut self, method: impl Method) {
        self.methods.insert(method.name().into(), Box::new(method));
    }
}

impl Handler for Rpc {
    fn message_type(&self) -> &str {
        BuiltIn::Rpc.as_str()
    }

    fn handle(&mut self, ctx: &mut Ctx<'_>, message: &Message<'_>) -> Result<(), HandlerError> {
        let name = message
            .method()?
            .ok_or(Rejection::MissingMember("method".into()))?;
        let method = self.methods.get_mut(&*name).ok_or(Rejection::NotFound)?;
        let params = Params {
            json: message.params()?,
            binary: message.binary(),
        };
        method.call(ctx, &params)
    }
}
