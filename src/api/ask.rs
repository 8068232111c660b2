//! Asking the shards, for a bounded time.

use std::future::Future;

use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use super::state::State;
use crate::id::ShardId;
use crate::realtime::{Asking, Errand, Realtime};
use crate::server::Busy;
use crate::shard::Context;

impl State {
    /// Has an errand done and reads its answer.
    ///
    /// Errors: the application's own; 503 if a shard's queue is full or whoever was to answer is gone;
    /// 504 if no answer comes in time.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        asking: Asking,
        errand: Errand,
    ) -> Result<T, ApiError> {
        let home = errand.home().map(|name| self.server.home(name));
        let (mail, answered) = errand.mail(asking);
        self.server.mail(home.unwrap_or(ShardId(0)), mail)?;
        let answer = self.in_time(answered).await?;
        let json = answer.ok_or_else(ApiError::unavailable)??;
        serde_json::from_str(&json).map_err(|error| {
            tracing::error!(%error, "an answer of the application is not what it is to be");
            StatusCode::INTERNAL_SERVER_ERROR.into()
        })
    }

    /// Runs `question` on a shard. Errors: as [`ask`](Self::ask), but for the application's own.
    pub(super) async fn on_shard<T: Send + 'static>(
        &self,
        shard: ShardId,
        question: impl FnOnce(&mut Realtime, &mut Context<'_, Realtime>) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let answer: Result<Option<T>, Busy> =
            self.in_time(self.server.ask(shard, question)).await?;
        answer?.ok_or_else(ApiError::unavailable)
    }

    /// All shards, in order.
    pub(super) fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.server.shard_count()).map(ShardId)
    }

    /// Waits as long as shards and the store may take. Errors: 504.
    pub(super) async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, ApiError> {
        let answer = tokio::time::timeout(self.options.answer_timeout, work).await;
        answer.map_err(|_| ApiError::timeout())
    }
}
