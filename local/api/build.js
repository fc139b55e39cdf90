// Copies the files of the API page into a folder: build.js FOLDER
// deno.lock has the version and the hash of Swagger UI.

import { absolutePath } from "swagger-ui-dist";

const [folder] = Deno.args;
const here = import.meta.dirname;
const files = [
  ...["swagger-ui.css", "swagger-ui-bundle.js", "LICENSE", "NOTICE"].map((name) => `${absolutePath()}/${name}`),
  ...["index.html", "page.css", "page.js", "../../docs/openapi.yaml"].map((name) => `${here}/${name}`),
];
await Deno.mkdir(folder, { recursive: true });
for (const file of files) {
  await Deno.copyFile(file, `${folder}/${file.split("/").pop()}`);
}
