//! Changes of the hold and of the expiry timers in the deployed stack.

use std::collections::HashMap;

use aws_sdk_lambda::{
    Client as Lambda,
    types::{Environment, LastUpdateStatus},
};
use orders_tests::{buyers::eventually, stack::stack};
use tokio::sync::{Mutex, MutexGuard};

/// Held by the test that changes the hold.
static TURN: Mutex<()> = Mutex::const_new(());

/// Access to the hold of new orders.
pub(crate) struct Hold {
    lambda: Lambda,
    _turn: MutexGuard<'static, ()>,
}

impl Hold {
    pub(crate) async fn take() -> Self {
        let turn = TURN.lock().await;
        Self { lambda: Lambda::new(&stack().sdk_config().await), _turn: turn }
    }

    /// Sets the hold of new orders. One buyer can hold any number of tickets.
    pub(crate) async fn set(&self, seconds: u64) {
        let variables = [("HOLD_SECONDS", seconds), ("HOLDS_PER_BUYER", 0)];
        self.configure("CreateOrderFunctionName", &variables).await;
    }

    /// Sets the time to pay from the start of a payment on.
    pub(crate) async fn set_time_to_pay(&self, seconds: u64) {
        self.configure("PaymentEventsFunctionName", &[("PAYMENT_SECONDS", seconds)]).await;
    }

    /// Sets environment variables of a function, in the version of its alias.
    async fn configure(&self, function_output: &str, changes: &[(&str, u64)]) {
        let function = stack().output(function_output);
        let configuration = self.lambda.get_function_configuration().function_name(function);
        let current = configuration.send().await.unwrap().environment.unwrap();
        let mut variables: HashMap<_, _> = current.variables.unwrap();
        let changes = changes.iter().map(|(name, value)| ((*name).to_owned(), value.to_string()));
        variables.extend(changes);
        let environment = Environment::builder().set_variables(Some(variables)).build();
        let update = self.lambda.update_function_configuration().function_name(function);
        update.environment(environment).send().await.unwrap();
        loop {
            let now = self.lambda.get_function_configuration().function_name(function);
            let status = now.send().await.unwrap().last_update_status;
            if status.is_none_or(|status| status == LastUpdateStatus::Successful) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        // The API calls the version of the alias.
        let published = self.lambda.publish_version().function_name(function).send().await.unwrap();
        let alias = self.lambda.update_alias().function_name(function).name("live");
        alias.set_function_version(published.version).send().await.unwrap();
    }
}

/// The expiry timers, stopped.
pub(crate) struct Timers {
    lambda: Lambda,
    mapping: String,
}

impl Timers {
    pub(crate) async fn stop() -> Self {
        let lambda = Lambda::new(&stack().sdk_config().await);
        let function = stack().output("ExpireOrdersFunctionName");
        let mappings = lambda.list_event_source_mappings().function_name(function);
        let mappings = mappings.send().await.unwrap().event_source_mappings.unwrap();
        let mapping = mappings[0].uuid().unwrap().to_owned();
        let timers = Self { lambda, mapping };
        timers.enable(false).await;
        timers
    }

    pub(crate) async fn start(self) {
        self.enable(true).await;
    }

    async fn enable(&self, enabled: bool) {
        let update = self.lambda.update_event_source_mapping().uuid(&self.mapping);
        update.enabled(enabled).send().await.unwrap();
        let expected = if enabled { "Enabled" } else { "Disabled" };
        eventually(async || {
            let now = self.lambda.get_event_source_mapping().uuid(&self.mapping);
            now.send().await.unwrap().state.is_none_or(|state| state == expected)
        })
        .await;
    }
}
