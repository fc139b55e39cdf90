// Prints the source of axe-core, which checks a page for violations of WCAG.

// Only this file uses the package, with a lock file of its own.
// deno-lint-ignore no-import-prefix
import source from "npm:axe-core@4.14.0/axe.min.js" with { type: "text" };

console.log(source);
