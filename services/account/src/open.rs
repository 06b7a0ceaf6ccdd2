//! 20000001: opens an account.

use gantry_abi::json::Body;
use gantry_abi::{Context, CreateError, Host, Service, ServiceError, params};
use gantry_ledger::{SOURCE, request, time};
use serde::Serialize;

use crate::sql;

/// A customer may have several accounts, so neither name nor identity document is unique.
pub(crate) struct OpenAccount;

#[derive(Serialize)]
struct Opened {
    account: String,
}

impl Service for OpenAccount {
    fn create(_: &Host<'_>, _config: &str) -> Result<Self, CreateError> {
        Ok(Self)
    }

    fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> {
        let body = Body::read(request)?;
        let customer = request::text(&body, "customer", request::CUSTOMER_BYTES_MAX)?;
        let id_no = request::text(&body, "id_no", request::ID_NO_BYTES_MAX)?;

        let account = context.serial("account")?;
        let values = params![&account, &customer, &id_no, time::now_ms()];
        context.sql(SOURCE).execute(sql::INSERT_ACCOUNT, values)?;
        context.reply_json(&Opened { account })
    }
}
