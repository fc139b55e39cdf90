import { GetCommand } from "@aws-sdk/lib-dynamodb";
import { callerOf, documents, json, log, ORDERS_TABLE, problem, shown } from "./orders.js";
import { serve } from "./runtime.js";

async function show(event) {
  const caller = callerOf(event);
  if (!caller) return problem(401, "Unauthorized", "no caller");
  const id = event.pathParameters.id;
  const { Item: order } = await documents.send(
    new GetCommand({ TableName: ORDERS_TABLE, Key: { id }, ConsistentRead: true }),
  );
  if (!order || order.user_id !== caller) return problem(404, "Not Found", "no such order");
  const body = shown(order, Date.now());
  const etag = `W/"${body.version}-${body.status}"`;
  const headers = { etag, "cache-control": "private, no-cache" };
  if (event.headers["if-none-match"] === etag) return { statusCode: 304, headers };
  return json(200, body, headers);
}

await serve(async (event) => {
  const answer = await show(event);
  log(event, answer.statusCode);
  return answer;
});
