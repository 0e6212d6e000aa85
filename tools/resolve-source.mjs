// Resolve and convert a DX project with Salesforce's own library, as `sf project deploy start` does before it sends anything.
//
//     node tools/resolve-source.mjs NODE_MODULES OUTPUT_FOLDER PROJECT
//
// Prints {"components": n, "unclaimed": [files no component claims]}; the converted package lies in OUTPUT_FOLDER.
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const [modules, output, project] = process.argv.slice(2);
if (!project) {
  console.error("usage: resolve-source.mjs NODE_MODULES OUTPUT_FOLDER PROJECT");
  process.exit(2);
}
const { ComponentSet, MetadataConverter } = createRequire(resolve(modules, "_"))("@salesforce/source-deploy-retrieve");

const { packageDirectories } = JSON.parse(readFileSync(join(project, "sfdx-project.json"), "utf8"));
const folders = packageDirectories.map(({ path }) => resolve(project, path));
const components = ComponentSet.fromSource(folders);

const claimed = new Set();
const claim = (component) => {
  if (component.xml) claimed.add(component.xml);
  if (component.content) claimed.add(component.content);
  component.getChildren().forEach(claim);
};
components.getSourceComponents().toArray().forEach(claim);
const unclaimed = folders
  .flatMap((folder) => readdirSync(folder, { recursive: true, withFileTypes: true }))
  .filter((entry) => entry.isFile() && entry.name !== "README.md")
  .map((entry) => join(entry.parentPath, entry.name))
  .filter((file) => !claimed.has(file));

await new MetadataConverter().convert(components, "metadata", { type: "directory", outputDirectory: output, genUniqueDir: false });
console.log(JSON.stringify({ components: components.size, unclaimed }));
