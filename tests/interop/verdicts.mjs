// verdicts.mjs NIBBLE FILE[:PREFIX]...: each key of each good file (that begins with PREFIX) is removed, given another
// type, and given values that no model has, one at a time. The runtime loads every such file and runs one token through it, in a process of
// its own, as some make it abort. No file that the runtime refuses may be called sound by 'nibble check'.
import {execFile, execFileSync} from "node:child_process";
import {mkdtempSync, rmSync} from "node:fs";
import {availableParallelism, tmpdir} from "node:os";
import {join} from "node:path";
import {fileURLToPath} from "node:url";

async function load(path) {
    const {getLlama} = await import("node-llama-cpp");
    const llama = await getLlama({gpu: false, build: "never", progressLogs: false, logLevel: "disabled"});
    const model = await llama.loadModel({modelPath: path});
    const context = await model.createContext({contextSize: 64, batchSize: 64, threads: 1});
    await context.getSequence().evaluateWithoutGeneratingNewTokens([5]);
    process.exit(0);
}

// What to do with a key: the options of 'nibble edit'.
function changes(key, value) {
    const list = [["--remove", key]];
    if (typeof value === "string" || Array.isArray(value))
        list.push(["--set", `${key}=u32:1`]);
    if (typeof value === "string" && key !== "tokenizer.chat_template")
        list.push(["--set", `${key}=str:nonsense`]);
    if (typeof value === "number" || typeof value === "boolean")
        list.push(["--set", `${key}=str:1`]);
    if (Number.isInteger(value) && !key.startsWith("general.") && !key.endsWith("_token_id"))
        for (const number of [0, 1, 3, 1 << 16, 0xFFFFFFFF])
            list.push(["--set", `${key}=u32:${number}`]);
    if (key.endsWith("_token_id"))
        list.push(["--set", `${key}=u32:99999999`]);
    if (key === "tokenizer.chat_template")
        list.push(["--set", `${key}=str:{% if messages %}never closed`]);
    return list;
}

const run = (file, args) => new Promise((resolve) => {
    execFile(file, args, {timeout: 120000, maxBuffer: 1 << 28}, (error, stdout) =>
        resolve({code: error === null ? 0 : typeof error.code === "number" ? error.code : -1, stdout}));
});

async function compare(nibble, good, change, changed) {
    const edit = await run(nibble, ["edit", good, ...change, "-o", changed, "--force", "-q"]);
    if (edit.code !== 0)
        return null; // 'nibble edit' itself refuses it
    const check = await run(nibble, ["check", "--json", changed]);
    const loads = (await run(process.execPath, [fileURLToPath(import.meta.url), "--load", changed])).code === 0;
    const result = JSON.parse(check.stdout).files[0];
    const codes = result.findings.map((f) => f.code).join(" ");
    return {sound: check.code === 0, loads, codes};
}

async function compareAll(nibble, good, prefix, folder) {
    const metadata = JSON.parse(execFileSync(nibble, ["inspect", "--json", good], {maxBuffer: 1 << 28})).metadata;
    const keys = Object.entries(metadata).filter(([key]) => key.startsWith(prefix));
    const todo = keys.flatMap(([key, value]) => changes(key, value));
    const count = {files: 0, refused: 0, wrong: 0, stricter: []};
    await Promise.all(Array.from({length: availableParallelism()}, async (_, worker) => {
        for (let change; (change = todo.pop()) !== undefined;) {
            const v = await compare(nibble, good, change, join(folder, `${worker}.gguf`));
            if (v === null)
                continue;
            count.files++;
            count.refused += !v.loads;
            if (v.sound && !v.loads) {
                count.wrong++;
                console.log(`verdicts: ${good}: ${change.join(" ")}: sound, but the runtime refuses it`);
            }
            if (!v.sound && v.loads)
                count.stricter.push(`${change[1]} (${v.codes})`);
        }
    }));
    console.log(`verdicts: ${good}: ${count.files} changed files, ${count.refused} refused by the runtime, ` +
                `${count.wrong} of these called sound; ${count.stricter.length} load but are not sound`);
    if (process.env.VERBOSE)
        console.log(count.stricter.sort().join("\n"));
    return count.refused > 0 && count.wrong === 0;
}

if (process.argv[2] === "--load") {
    await load(process.argv[3]).catch(() => process.exit(1));
} else {
    const [nibble, ...files] = process.argv.slice(2);
    const folder = mkdtempSync(join(tmpdir(), "nibble-verdicts."));
    let ok = true;
    for (const file of files) {
        const [, good, prefix] = /^(.*?)(?::([\w.]*))?$/.exec(file);
        ok = await compareAll(nibble, good, prefix ?? "", folder) && ok;
    }
    rmSync(folder, {recursive: true});
    process.exit(ok ? 0 : 1);
}
