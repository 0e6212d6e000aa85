// Parse Apex classes and triggers with the Apex grammar; exit 1 where one does not parse.
//
//     node tools/check-apex.mjs NODE_MODULES FILE.cls|FILE.trigger...
//
// NODE_MODULES is the folder where @apexdevtools/apex-parser is installed. Each complaint names the file, line and column.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

const [modules, ...files] = process.argv.slice(2);
if (!modules || files.length === 0) {
  console.error("usage: check-apex.mjs NODE_MODULES FILE.cls|FILE.trigger...");
  process.exit(2);
}
const { ApexErrorListener, ApexParserFactory } = createRequire(resolve(modules, "_"))("@apexdevtools/apex-parser");

let bad = 0;
class Complaints extends ApexErrorListener {
  constructor(file) {
    super();
    this.file = file;
    this.found = [];
  }

  apexSyntaxError(line, column, message) {
    this.found.push(`${this.file}:${line}:${column}: ${message}`);
  }
}

for (const file of files) {
  const complaints = new Complaints(file);
  const { parser } = ApexParserFactory.createLexerAndParser(readFileSync(file, "utf8"), complaints);
  if (file.endsWith(".trigger")) parser.triggerUnit();
  else parser.compilationUnit();
  if (complaints.found.length > 0) {
    bad += 1;
    console.log(complaints.found.join("\n"));
  }
}
console.log(`${files.length - bad} parsed, ${bad} not`);
process.exit(bad ? 1 : 0);
