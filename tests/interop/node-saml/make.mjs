// Standard input: a JSON array of {"version": 1 | 2, ...options of the package}; standard output: an array of signed assertions.
import { readFileSync } from "node:fs";
import saml from "saml";

const makers = { 1: saml.Saml11, 2: saml.Saml20 };
const made = JSON.parse(readFileSync(0, "utf8")).map(({ version, ...options }) => makers[version].create(options));
process.stdout.write(JSON.stringify(made));
