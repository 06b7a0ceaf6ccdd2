//! Replies what it is sent.

use gantry_abi::{Context, CreateError, Host, Service, ServiceError};

/// 19000001 and 29000001: any bytes → the same bytes.
pub(crate) struct Echo;

impl Service for Echo {
    fn create(_: &Host<'_>, _config: &str) -> Result<Self, CreateError> {
        Ok(Self)
    }

    fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> {
        context.reply(request)
    }
}
