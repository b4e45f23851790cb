/*
 * Looks for faults of a page of 'nibble verify --html' from inside: tests/report/run appends this to a copy
 * of the page and shows it in frames of several widths. What it finds goes to the page around it.
 */
"use strict";
{
    const faults = new Set();
    const must = (holds, fault) => { if (!holds) faults.add(fault); };
    const all = (query, root) => [...(root || document).querySelectorAll(query)];
    const style = (e) => getComputedStyle(e), box = (e) => e.getBoundingClientRect();
    const what = (e) => `${e.tagName.toLowerCase()} '${e.textContent.trim().slice(0, 30)}'`;
    const visible = (e) => e.getClientRects().length > 0 && style(e).visibility === "visible";
    const inside = (e, selector) => e.closest(selector) !== null;
    const different = (list) => new Set(list).size === list.length;
    const page = JSON.parse(document.getElementById("data").textContent), n = page.models.length;

    /* --- room: nothing is cut off, runs out of its box, covers other text or is broken into letters --- */

    function texts() {
        const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
        while (walker.nextNode()) {
            const t = walker.currentNode, e = t.parentElement, range = document.createRange();
            if (t.data.trim() === "" || ["SCRIPT", "NOSCRIPT", "OPTION"].includes(e.tagName) || !visible(e)) continue;
            range.selectNodeContents(t);
            found.push({ e, text: t.data.trim(), rects: [...range.getClientRects()] });
        }
        return found;
    }
    function room() {
        must(document.documentElement.scrollWidth <= innerWidth, `the page is ${document.documentElement.scrollWidth} wide`);
        for (const e of all("body *")) {
            if (!visible(e) || inside(e, "svg, #heat") || e.clientWidth === 0 || style(e).display === "inline") continue;
            must(e.scrollWidth <= e.clientWidth + 1, `${what(e)} runs out of its box: ${e.scrollWidth} in ${e.clientWidth}`);
        }
        for (const { e, text, rects } of texts()) {
            const lines = new Set(rects.map((r) => Math.round(r.top))).size, section = box(e.closest("section") || document.body);
            const fits = rects.every((r) => r.left >= section.left - 1 && r.right <= section.right + 1);
            must(fits || inside(e, "#heat, #tip"), `'${text.slice(0, 30)}' runs out of its section`);
            must(lines <= 2 || text.length / lines >= 7, `'${text.slice(0, 30)}' is broken into ${lines} lines`);
        }
    }
    const beyond = (a, b) => a.left < b.left - 1 || a.right > b.right + 1 || a.top < b.top - 1 || a.bottom > b.bottom + 1;
    const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 2 && b.top < a.bottom - 2;
    function plots() {
        for (const svg of all("#plots svg")) {
            const title = svg.getAttribute("aria-label"), words = all("text", svg);
            words.forEach((word, i) => {
                must(!beyond(box(word), box(svg)), `${title}: ${what(word)} is cut off`);
                for (const other of words.slice(0, i))
                    must(!meet(box(word), box(other)), `${title}: ${what(word)} covers ${what(other)}`);
            });
            for (const axis of ["tick-x", "tick-y"]) {
                const ticks = all("." + axis, svg).map((t) => t.textContent);
                must(different(ticks), `${title}: ${axis} repeats in ${ticks}`);
                must(ticks.length > 1 || ticks[0] === "0", `${title}: ${axis} is only ${ticks}`);
            }
        }
    }

    /* --- contrast, by WCAG 2: 4.5 for text, 3 for marks and lines --- */

    const rgba = (text) => { const v = text.match(/[\d.]+/g).map(Number); return v.length < 4 ? [...v, 1] : v; };
    function luminance(colour) {
        const [r, g, b] = colour.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    }
    function ground(e) {
        for (; e; e = e.parentElement) {
            const colour = rgba(style(e).backgroundColor);
            if (colour[3] === 1) return colour;
        }
        throw new Error("nothing is opaque");
    }
    function contrast(e, colour, least) {
        const [low, high] = [luminance(rgba(colour)), luminance(ground(e))].sort((a, b) => a - b);
        const ratio = (high + 0.05) / (low + 0.05);
        must(ratio >= least, `contrast of ${what(e)} is ${ratio.toFixed(2)}: ${colour} on ${ground(e).slice(0, 3)}`);
    }
    function colours() {
        for (const { e } of texts()) contrast(e, inside(e, "svg") ? style(e).fill : style(e).color, 4.5);
        for (const e of all(".mark")) contrast(e, style(e).fill, 3);
        for (const e of all(".curve, .pareto")) contrast(e, style(e).stroke, 3);
    }

    /* --- what is shown --- */

    function legend() {
        const groups = all("[role=group]"), entries = all("#legend button");
        must(groups.length === 1 && entries.length === n, `${groups.length} legends, ${entries.length} entries, ${n} models`);
        const parts = (query) => entries.map((b) => b.querySelector(query));
        const look = (query, paint, form) => parts(query).map((e) => style(e)[paint] + e.getAttribute(form));
        must(different(look(".mark", "fill", "d")), "two models have the same mark");
        must(different(look(".curve", "stroke", "stroke-dasharray")), "two models have the same line");
        const drawn = () => all('#plots [data-model="0"]').length;
        entries[0].click();
        must(drawn() === 0, "a model that is switched off is still there");
        entries[0].click();
        must(drawn() > 0, "a model that is switched on again is gone");
    }
    function scatter() {
        const svg = all("#plots svg")[0], middle = (e) => (box(e).top + box(e).bottom) / 2;
        const zero = all(".tick-y", svg).find((t) => t.textContent === "0"), points = all(".mark", svg);
        const named = new Set(all("text.name", svg).map((t) => t.dataset.model));
        must(points.length === n, `${points.length} points for ${n} models`);
        for (const p of points) {
            const model = page.models[+p.dataset.model], isAtZero = zero && Math.abs(middle(p) - middle(zero)) < 3;
            must(Boolean(isAtZero) === model.kld_mean < 1e-7, `${model.path} is at the wrong height: ${model.kld_mean}`);
            must(innerWidth < 900 || named.has(p.dataset.model), `${model.path} has no name at its point`);
        }
        const noWorse = (b, a) => b.bytes <= a.bytes && b.kld_mean <= a.kld_mean;
        const best = page.models.filter((a) => !page.models.some((b) => noWorse(b, a) && !noWorse(a, b))).length;
        const corners = svg.querySelector(".pareto").getAttribute("d").split("L").length;
        must(best === corners, `the Pareto line has ${corners} points, not ${best}`);
    }
    function sorting() {
        const order = () => all("#numbers tbody tr").map((r) => r.cells[0].textContent), [first] = order();
        const size = all("#numbers th").find((t) => t.textContent === "size");
        for (const [direction, sign] of [["ascending", 1], ["descending", -1]]) {
            const sorted = [...page.models].sort((a, b) => sign * (a.bytes - b.bytes)).map((m) => m.path);
            size.querySelector("button").click();
            must(order().join() === [first, ...sorted].join(), `by size, ${direction}: ${order()}`);
            must(size.getAttribute("aria-sort") === direction, `screen readers are not told that it is ${direction}`);
        }
    }
    function hovering() {
        const note = document.getElementById("tip");
        function over(e, x, y, wanted) {
            e.scrollIntoView({ block: "center", inline: "center" });
            const at = { clientX: box(e).left + x, clientY: box(e).top + y };
            e.dispatchEvent(new PointerEvent("pointermove", { bubbles: true, ...at }));
            for (const w of wanted)
                must(!note.hidden && note.textContent.includes(w), `the note at ${what(e)} has no '${w}'`);
            must(box(note).left >= 0 && box(note).right <= innerWidth, `the note at ${what(e)} is cut off`);
            contrast(note, style(note).color, 4.5);
        }
        const [scatter, ...others] = all("#plots svg"), mark = scatter.querySelector(".mark");
        const models = all("#legend button").map((b) => b.textContent.replace("…", ""));
        over(mark, box(mark).width / 2, box(mark).height / 2, [page.models[+mark.dataset.model].verdict.text]);
        for (const svg of others) for (const x of [70, svg.clientWidth - 20]) over(svg, x, 100, models);
        for (const c of all("#heat td").slice(0, 3)) over(c, 5, 5, [c.textContent, c.closest("tr").cells[0].textContent]);
    }
    function tensors() {
        const select = document.querySelector("#map-model"), exact = all("#tensors > p").pop().textContent;
        page.models.forEach((m, i) => {
            select.value = i;
            select.dispatchEvent(new Event("change"));
            const cells = new Map(all("#heat td").map((c) => [c.note.split("\n")[0], c.textContent]));
            for (const t of m.tensors) {
                const role = t.name.replace(/^blk\.\d+\./, "").replace(/\.weight$/, "");
                must(cells.has(t.name) || (t.relative_rms === 0 && exact.includes(role)), `${m.path}: ${t.name} is not in the map`);
                must(!cells.has(t.name) || cells.get(t.name) === t.type, `${m.path}: ${t.name} has not the type ${t.type}`);
            }
            for (const c of all("#heat td")) contrast(c, style(c).color, 4.5);
        });
    }
    /* The map of effects: each tensor is coloured by its own, and the note tells it. */
    function effects() {
        const choice = document.querySelector("#map-measure"), models = page.models.filter((m) => m.tensors.some((t) => t.effect > 0));
        must(Boolean(choice) === (models.length > 0), `effects of ${models.length} models, and ${choice ? "a" : "no"} choice`);
        if (!choice) return;
        choice.value = 1;
        choice.dispatchEvent(new Event("change"));
        for (const m of models) {
            const select = document.querySelector("#map-model");
            select.value = page.models.indexOf(m);
            select.dispatchEvent(new Event("change"));
            const known = m.tensors.filter((t) => t.effect > 0), coloured = all("#heat td:not(.none)");
            must(coloured.length === known.length, `${m.path}: ${coloured.length} cells are coloured, ${known.length} effects known`);
            const light = (name) => luminance(rgba(style(coloured.find((c) => c.note.startsWith(name + "\n"))).backgroundColor));
            const sorted = [...known].sort((a, b) => a.effect - b.effect), [least, most] = [sorted[0], sorted[sorted.length - 1]];
            must(least.effect === most.effect || light(least.name) < light(most.name), `${m.path}: ${most.name} does not stand out before ${least.name}`);
            for (const c of all("#heat td")) contrast(c, style(c).color, 4.5);
        }
        must(document.querySelector("#tensors p").textContent.includes("KL divergence"), "the map does not say what it shows");
        choice.value = 0;
        choice.dispatchEvent(new Event("change"));
    }
    function tasks() {
        const list = page.tasks || [], section = document.getElementById("tasks");
        must(Boolean(section) === (list.length > 0), `${list.length} tasks, and ${section ? "a" : "no"} section`);
        for (const t of list) {
            const rows = all("#tasks tbody tr");
            must(section.textContent.includes(t.file) && section.textContent.includes(`${t.questions} of ${t.file}`), `${t.task} is not told`);
            for (const m of t.models) {
                const row = rows.find((r) => r.cells[0].textContent === m.path);
                must(row && row.textContent.includes((100 * m.right).toFixed(2) + " %"), `${t.task}: ${m.path} has not its share`);
                must(row && (m.same_answers === undefined || row.textContent.includes((100 * m.same_answers).toFixed(2) + " %")),
                    `${t.task}: ${m.path} has not its same answers`);
            }
        }
    }
    function words() {
        const text = (id) => document.getElementById(id).textContent;
        const verdicts = all("#verdicts dd").map((d) => d.textContent);
        const isVerdict = (v) => /^[+-]\d+\.\d\d % perplexity, \d+\.\d\d % same top token: .+/.test(v);
        must(verdicts.length === n && verdicts.every(isVerdict), `verdicts: ${verdicts}`);
        for (const v of page.verdicts)
            must(text("limits").includes(v.words) && text("limits").includes(v.limit || ""), `no limit of '${v.words}'`);
        must(all("#limits a[href^='https://']").length >= 3, "the limits are not linked to what they rest on");
        for (const m of page.models) {
            const error = m.kld_stderr === 0 ? "0" : m.kld_stderr.toFixed(6);
            must(text("numbers").includes("± " + error), `${m.path} has no ±`);
            for (const w of [m.path, m.recipe, m.imatrix || "none"]) must(text("facts").includes(w), `'${w}' is not told`);
        }
        for (const w of [page.date, page.version, page.machine, ...page.command])
            must(w && text("facts").includes(w), `'${w}' is not told`);
        must(text("facts").includes("rounded to 8 bits") === (page.activations === "q8"), "activations are not told as they were");
        must(text("about").includes("activations rounded") === (page.activations === "q8"), "the page begins without activations");
        must(all("img, iframe, link, object").length === 0, "a name became markup");
        must(performance.getEntriesByType("resource").length === 0, "the page loads something");
    }

    const whole = [room, plots, colours, legend, scatter, sorting, hovering, tensors, effects, tasks, words, room];
    const checks = n > 0 ? whole : [room, colours];
    addEventListener("load", () => setTimeout(() => {
        for (const check of checks)
            try { check(); } catch (e) { must(false, `${check.name}: ${e.stack}`); }
        const scheme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
        parent.postMessage([`checked ${innerWidth} ${scheme}`, ...faults].join("\n"), "*");
    }, 300));
}
