// What both functions share: the client, made once, and how orders and problems are shown.
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";

export const { ORDERS_TABLE, TICKETS_TABLE, BUYERS_TABLE } = process.env;
export const documents = DynamoDBDocumentClient.from(new DynamoDBClient({}));

export const callerOf = (event) => event.requestContext?.authorizer?.jwt?.claims?.sub;

export function json(statusCode, body, headers = {}) {
  return { statusCode, headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) };
}

export function problem(status, title, message) {
  return json(status, { title, status, errors: [{ message }] }, { "content-type": "application/problem+json" });
}

export function shown(order, now) {
  const due = order.status === "awaiting_payment" && order.expires_at <= now;
  return {
    id: order.id,
    userId: order.user_id,
    status: due ? "expired" : order.status,
    version: order.version,
    createdAt: new Date(order.created_at).toISOString(),
    expiresAt: new Date(order.expires_at).toISOString(),
    expiresIn: Math.max(0, Math.floor((order.expires_at - now) / 1000)),
    ticket: { ...order.ticket, price: order.ticket.price / 100 },
  };
}

export function log(event, status) {
  console.log(
    JSON.stringify({ level: "INFO", message: "answered", requestId: event.requestContext.requestId, status }),
  );
}
