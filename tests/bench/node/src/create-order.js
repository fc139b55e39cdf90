import { randomUUID } from "node:crypto";
import { TransactionCanceledException } from "@aws-sdk/client-dynamodb";
import { GetCommand, TransactWriteCommand } from "@aws-sdk/lib-dynamodb";
import { BUYERS_TABLE, callerOf, documents, json, log, ORDERS_TABLE, problem, shown, TICKETS_TABLE } from "./orders.js";
import { serve } from "./runtime.js";

const HOLD_MS = Number(process.env.HOLD_SECONDS) * 1000;
const HOLDS_PER_BUYER = Number(process.env.HOLDS_PER_BUYER);

function ticketIdIn(event) {
  try {
    const { ticketId } = JSON.parse(event.body);
    return typeof ticketId === "string" && ticketId.length <= 128 ? ticketId : undefined;
  } catch {
    return undefined;
  }
}

/** A free slot of the buyer, at random; undefined if there is none. */
async function freeSlot(caller, now) {
  const { Item: buyer = {} } = await documents.send(
    new GetCommand({ TableName: BUYERS_TABLE, Key: { id: caller }, ConsistentRead: true }),
  );
  const slots = Array.from({ length: HOLDS_PER_BUYER }, (_, number) => `slot_${number}`);
  const free = slots.filter((slot) => !(buyer[slot] > now));
  return free[Math.floor(Math.random() * free.length)];
}

async function create(event) {
  const caller = callerOf(event);
  if (!caller) return problem(401, "Unauthorized", "no caller");
  const ticketId = ticketIdIn(event);
  if (!ticketId) return problem(400, "Bad Request", "ticketId must be a text");
  const { Item: ticket } = await documents.send(
    new GetCommand({ TableName: TICKETS_TABLE, Key: { id: ticketId }, ConsistentRead: true }),
  );
  const now = Date.now();
  if (!ticket) return problem(404, "Not Found", "no such ticket");
  if (ticket.locked_by) return problem(409, "Conflict", "the ticket is reserved");
  const slot = await freeSlot(caller, now);
  if (!slot) return problem(409, "Conflict", "too many unpaid tickets");
  const order = {
    id: randomUUID(),
    user_id: caller,
    status: "awaiting_payment",
    version: 0,
    created_at: now,
    expires_at: now + HOLD_MS,
    ticket: { id: ticket.id, title: ticket.title, price: ticket.price, version: ticket.version },
    correlation_id: event.headers["x-correlation-id"] ?? event.requestContext.requestId,
  };
  try {
    await documents.send(
      new TransactWriteCommand({
        ClientRequestToken: order.id,
        TransactItems: [
          { Put: { TableName: ORDERS_TABLE, Item: order, ConditionExpression: "attribute_not_exists(id)" } },
          {
            Update: {
              TableName: TICKETS_TABLE,
              Key: { id: ticketId },
              UpdateExpression: "SET #locked_by = :order, #locked_until = :until",
              ConditionExpression: "#version = :version AND attribute_not_exists(#locked_by)",
              ExpressionAttributeNames: {
                "#version": "version",
                "#locked_by": "locked_by",
                "#locked_until": "locked_until",
              },
              ExpressionAttributeValues: { ":order": order.id, ":until": order.expires_at, ":version": ticket.version },
            },
          },
          {
            Update: {
              TableName: BUYERS_TABLE,
              Key: { id: caller },
              UpdateExpression: "SET #slot = :until",
              ConditionExpression: "attribute_not_exists(#slot) OR #slot <= :now",
              ExpressionAttributeNames: { "#slot": slot },
              ExpressionAttributeValues: { ":until": order.expires_at, ":now": now },
            },
          },
        ],
      }),
    );
  } catch (error) {
    if (error instanceof TransactionCanceledException) return problem(409, "Conflict", "the ticket is reserved");
    throw error;
  }
  return json(201, shown(order, now), { location: `/api/orders/${order.id}` });
}

await serve(async (event) => {
  const answer = await create(event);
  log(event, answer.statusCode);
  return answer;
});
