//! Items of the tables, read and written beside the store.

use std::collections::HashMap;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::{Client, types::AttributeValue};
use orders_domain::{Lock, TicketId, UserId};
use orders_dynamo::{DynamoStore, TableNames};
use orders_tests::stores;
use serde_json::{Value, json};

use crate::suite::Repair;

/// The four tables of a store.
pub(crate) struct Tables {
    client: Client,
    pub(crate) names: TableNames,
}

impl Tables {
    /// The test tables, and a store on them.
    pub(crate) async fn on(sdk: &SdkConfig) -> (DynamoStore, Self) {
        let client = Client::new(sdk);
        let names = stores::make_tables(&client).await;
        (stores::store_on(sdk).await, Self { client, names })
    }

    /// Puts an item, given as plain JSON.
    pub(crate) async fn put(&self, table: &str, item: &Value) {
        let put = self.client.put_item().table_name(table).set_item(Some(attributes(item)));
        put.send().await.unwrap();
    }

    /// The item as plain JSON; null if it is missing.
    pub(crate) async fn get(&self, table: &str, id: &str) -> Value {
        let get = self.client.get_item().table_name(table).consistent_read(true);
        let response = get.key("id", AttributeValue::S(id.to_owned())).send().await.unwrap();
        response.item.map_or(Value::Null, |item| json_of(AttributeValue::M(item)))
    }

    /// Changes attributes of an item; null removes an attribute.
    pub(crate) async fn change(&self, table: &str, id: &str, attributes: &Value) {
        let mut item = self.get(table, id).await;
        for (name, value) in attributes.as_object().unwrap() {
            item[name] = value.clone();
        }
        item.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        self.put(table, &item).await;
    }
}

impl Repair for Tables {
    async fn set_lock(&self, ticket: &TicketId, lock: Lock) {
        let until = match lock {
            Lock::Held { until, .. } => json!(until.epoch_ms()),
            Lock::Free | Lock::Sold { .. } => Value::Null,
        };
        let by = lock.holder().map(|holder| holder.to_string());
        let lock = json!({"locked_by": by, "locked_until": until, "locked_for": null});
        self.change(&self.names.tickets, ticket.as_str(), &lock).await;
    }

    async fn remove_slots(&self, user_id: &UserId) {
        let delete = self.client.delete_item().table_name(&self.names.buyers);
        let id = AttributeValue::S(user_id.to_string());
        delete.key("id", id).send().await.unwrap();
    }
}

fn attributes(item: &Value) -> HashMap<String, AttributeValue> {
    let fields = item.as_object().unwrap().iter();
    fields.map(|(name, value)| (name.clone(), attribute(value))).collect()
}

fn attribute(value: &Value) -> AttributeValue {
    match value {
        Value::Null => AttributeValue::Null(true),
        Value::Bool(value) => AttributeValue::Bool(*value),
        Value::Number(number) => AttributeValue::N(number.to_string()),
        Value::String(text) => AttributeValue::S(text.clone()),
        Value::Array(list) => AttributeValue::L(list.iter().map(attribute).collect()),
        Value::Object(_) => AttributeValue::M(attributes(value)),
    }
}

fn json_of(value: AttributeValue) -> Value {
    match value {
        AttributeValue::Bool(value) => json!(value),
        AttributeValue::S(text) => json!(text),
        AttributeValue::N(number) => serde_json::from_str(&number).unwrap(),
        AttributeValue::L(list) => list.into_iter().map(json_of).collect(),
        AttributeValue::M(map) => {
            map.into_iter().map(|(name, value)| (name, json_of(value))).collect()
        }
        other => panic!("unexpected attribute {other:?}"),
    }
}
