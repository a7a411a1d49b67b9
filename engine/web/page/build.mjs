// Builds the page into ../built, with a record of the sources that it was built from.
import { createHash } from "node:crypto"
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { build } from "esbuild"

const BUILT = new URL("../built/", import.meta.url)
const SOURCES = ["build.mjs", "package-lock.json", "package.json", "tsconfig.json", "src"]
const PLAIN = ["index.html", "icon.svg"]

function hash(bytes) {
  return createHash("sha256").update(bytes).digest("hex")
}

/** The paths of all files under `path`, sorted, with slashes. */
function files(path) {
  if (path.includes(".")) return [path]
  return readdirSync(path)
    .sort()
    .flatMap((name) => files(`${path}/${name}`))
}

/** One hash over all sources: the lines "hash  path", as sha256sum writes them, hashed again. */
function hashOfSources() {
  const lines = SOURCES.flatMap(files)
    .sort()
    .map((path) => `${hash(readFileSync(path))}  ${path}\n`)
  return hash(lines.join(""))
}

/** The licences of all packages that went into the page. */
function licences(inputs) {
  const folders = inputs.flatMap((path) => path.match(/^node_modules\/(?:@[^/]+\/)?[^/]+/) ?? [])
  return [...new Set(folders)]
    .sort()
    .map((folder) => {
      const { name, version } = JSON.parse(readFileSync(`${folder}/package.json`))
      const file = ["LICENSE", "LICENSE.md", "LICENSE.txt"]
        .map((each) => `${folder}/${each}`)
        .find(existsSync)
      return `${name} ${version}\n\n${readFileSync(file, "utf8").trim()}\n`
    })
    .join(`\n${"-".repeat(80)}\n\n`)
}

rmSync(BUILT, { recursive: true, force: true })
mkdirSync(BUILT, { recursive: true })
const { metafile } = await build({
  entryPoints: [
    { in: "src/main.tsx", out: "page" },
    { in: "src/page.css", out: "page" },
  ],
  outdir: BUILT.pathname,
  bundle: true,
  metafile: true,
  minify: true,
  format: "esm",
  target: ["chrome100", "firefox100", "safari15.4"],
  jsx: "automatic",
  jsxImportSource: "preact",
  loader: { ".woff2": "file" },
  assetNames: "barlow",
  legalComments: "none", // licences.txt has them
})
for (const name of PLAIN) cpSync(`src/${name}`, new URL(name, BUILT))
writeFileSync(new URL("licences.txt", BUILT), licences(Object.keys(metafile.inputs)))
const built = readdirSync(BUILT)
  .sort()
  .map((name) => [name, hash(readFileSync(new URL(name, BUILT)))])
const record = { sources: hashOfSources(), built: Object.fromEntries(built) }
writeFileSync(new URL("built.json", BUILT), JSON.stringify(record, null, 2) + "\n")
