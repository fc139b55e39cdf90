//! Stores on DynamoDB: an engine in this process, or the endpoint of the stack.

use std::{env, time::Duration};

use aws_config::SdkConfig;
use aws_sdk_dynamodb::{
    Client,
    types::{
        AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
        Projection, ProjectionType, ScalarAttributeType,
    },
};
use dynoxide::Database;
use orders_dynamo::{DynamoStore, ORDERS_BY_USER, TableNames};

use crate::{
    dynamodb,
    stack::{sdk_config, stack},
};

/// Long enough for every conflict of the suite.
const CONFLICT_BUDGET: Duration = Duration::from_secs(20);

/// Returns a store on a new engine in this process.
pub async fn in_process() -> DynamoStore {
    store_on(&in_process_endpoint()).await
}

/// Returns the AWS configuration of a new engine in this process.
pub fn in_process_endpoint() -> SdkConfig {
    dynamodb::sdk_config(Database::memory().unwrap())
}

/// Returns a store on test tables at the endpoint.
pub async fn at_endpoint() -> DynamoStore {
    store_on(&endpoint().await).await
}

/// Returns the AWS configuration of the stack's endpoint, or of `ORDERS_DYNAMODB_ENDPOINT`. The
/// stack's own tables are not usable: the relay and the timers would change orders.
pub async fn endpoint() -> SdkConfig {
    match env::var("ORDERS_DYNAMODB_ENDPOINT") {
        Ok(endpoint) => {
            let url = Some(endpoint.as_str()).filter(|url| *url != "aws");
            let region = env::var("AWS_REGION").unwrap_or_else(|_| "us-east-1".to_owned());
            sdk_config(url, &region).await
        }
        Err(_) => stack().sdk_config().await,
    }
}

/// Returns a store on the test tables, and creates the tables if necessary.
pub async fn store_on(sdk: &SdkConfig) -> DynamoStore {
    let client = Client::new(sdk);
    let tables = make_tables(&client).await;
    DynamoStore::new(client, tables, CONFLICT_BUDGET)
}

/// Creates the four tables of the template.
pub async fn make_tables(client: &Client) -> TableNames {
    let tables = TableNames {
        orders: "orders-conformance-orders".to_owned(),
        tickets: "orders-conformance-tickets".to_owned(),
        payments: "orders-conformance-payments".to_owned(),
        buyers: "orders-conformance-buyers".to_owned(),
    };
    let [tickets, payments, buyers] =
        [&tables.tickets, &tables.payments, &tables.buyers].map(|table| {
            client
                .create_table()
                .table_name(table)
                .billing_mode(BillingMode::PayPerRequest)
                .attribute_definitions(attribute("id", ScalarAttributeType::S))
                .key_schema(key("id", KeyType::Hash))
        });
    let by_user = GlobalSecondaryIndex::builder()
        .index_name(ORDERS_BY_USER)
        .key_schema(key("user_id", KeyType::Hash))
        .key_schema(key("created_at", KeyType::Range))
        .projection(Projection::builder().projection_type(ProjectionType::All).build())
        .build()
        .unwrap();
    let orders = client
        .create_table()
        .table_name(&tables.orders)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute("id", ScalarAttributeType::S))
        .attribute_definitions(attribute("user_id", ScalarAttributeType::S))
        .attribute_definitions(attribute("created_at", ScalarAttributeType::N))
        .key_schema(key("id", KeyType::Hash))
        .global_secondary_indexes(by_user);
    for request in [tickets, payments, buyers, orders] {
        if let Err(error) = request.send().await {
            let error = error.into_service_error();
            assert!(error.is_resource_in_use_exception(), "{error:?}");
        }
    }
    for table in [&tables.tickets, &tables.payments, &tables.buyers, &tables.orders] {
        wait_until_active(client, table).await;
    }
    tables
}

async fn wait_until_active(client: &Client, table: &str) {
    loop {
        let answer = client.describe_table().table_name(table).send().await.unwrap();
        let status = answer.table.and_then(|table| table.table_status);
        if status.is_some_and(|status| status.as_str() == "ACTIVE") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn attribute(name: &str, kind: ScalarAttributeType) -> AttributeDefinition {
    AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().unwrap()
}

fn key(name: &str, kind: KeyType) -> KeySchemaElement {
    KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap()
}
