// The query editor: CodeMirror in a shadow root, whose style sheets are constructed, so that the page's policy can forbid
// inline styles. Completion comes from our own APIs.
import { PAGE } from "../api/http.ts";
import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap, type CompletionContext, type CompletionResult } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { bracketMatching, HighlightStyle, LanguageSupport, LRLanguage, syntaxHighlighting } from "@codemirror/language";
import { EditorState, type Extension, Prec } from "@codemirror/state";
import { EditorView, keymap, placeholder as placeholderText } from "@codemirror/view";
import { styleTags, tags as t } from "@lezer/highlight";
import * as loki from "../api/loki.ts";
import * as tempo from "../api/tempo.ts";
import { range } from "../state/route.svelte.ts";

export type Language = "promql" | "logql" | "traceql";

export interface Editor {
  set: (text: string) => void;
  focus: () => void;
  destroy: () => void;
}

export interface EditorOptions {
  text: string;
  language: Language;
  label: string;
  placeholder: string;
  change: (text: string) => void;
  run: (text: string) => void;
}

const colours = HighlightStyle.define([
  { tag: [t.string, t.special(t.string)], color: "var(--c1)" },
  { tag: [t.number, t.bool], color: "var(--c3)" },
  { tag: [t.keyword, t.modifier, t.operatorKeyword], color: "var(--c2)" },
  { tag: [t.function(t.variableName), t.function(t.name)], color: "var(--c0)" },
  { tag: [t.labelName, t.propertyName], color: "var(--c5)" },
  { tag: t.comment, color: "var(--muted)" },
]);

const look = EditorView.theme({
  "&": { backgroundColor: "transparent", color: "var(--text)", fontSize: "13px" },
  "&.cm-focused": { outline: "none" },
  ".cm-content": { fontFamily: "var(--mono)", padding: "7px 4px", caretColor: "var(--text)" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.45" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  ".cm-placeholder": { color: "var(--muted)" },
  ".cm-selectionBackground, &.cm-focused .cm-selectionBackground": { backgroundColor: "var(--raised) !important" },
  ".cm-tooltip": { backgroundColor: "var(--raised)", border: "1px solid var(--line)", borderRadius: "6px", color: "var(--text)" },
  ".cm-tooltip-autocomplete ul li[aria-selected]": { backgroundColor: "var(--accent)", color: "var(--on-accent)" },
});

async function language(which: Language): Promise<Extension> {
  if (which === "promql") {
    const { PromQLExtension } = await import("@prometheus-io/codemirror-promql");
    return new PromQLExtension().setComplete({ remote: { url: new URL(".", location.href.replace(/[#?].*/s, "")).href.replace(/\/$/, ""), httpMethod: "GET", requestHeaders: new Headers(PAGE) } }).asExtension();
  }
  const parser = which === "logql" ? (await import("@grafana/lezer-logql")).parser : (await import("@grafana/lezer-traceql")).parser;
  const styled = parser.configure({
    props: [
      styleTags({
        "String": t.string, "Number Integer Float Duration Bytes": t.number, "LineComment": t.comment, "Identifier Label AttributeField IntrinsicField": t.labelName,
        "Json Logfmt Unpack Pattern Regexp Unwrap LabelFormat LineFormat By Without And Or Unless On Ignoring GroupLeft GroupRight Bool Offset Drop Keep Aggregate": t.keyword,
        "Sum Avg Count Max Min Stddev Stdvar Bottomk Topk CountOverTime Rate RateCounter BytesOverTime BytesRate AvgOverTime SumOverTime MinOverTime MaxOverTime QuantileOverTime FirstOverTime LastOverTime AbsentOverTime": t.function(t.name),
      }),
    ],
  });
  const support = new LanguageSupport(LRLanguage.define({ parser: styled, name: which }));
  return [support, autocompletion({ override: [which === "logql" ? completeLogs : completeTraces] })];
}

const LOG_WORDS = ["rate", "count_over_time", "sum by ()", "topk", "quantile_over_time", "bytes_rate", "| json", "| logfmt", "| pattern", "| line_format", "| label_format", "| unwrap", "|= ``", "!= ``", "|~ ``"];

/** Labels and their values inside braces, words elsewhere. */
async function completeLogs(context: CompletionContext): Promise<CompletionResult | null> {
  const before = context.state.sliceDoc(0, context.pos);
  const value = /([\w]+)\s*(?:=~|!~|!=|=)\s*["`]([^"`]*)$/.exec(before);
  if (value) {
    const found = await loki.labelValues(value[1] ?? "", undefined, range());
    return { from: context.pos - (value[2] ?? "").length, options: found.map((label) => ({ label, type: "text" })) };
  }
  const word = context.matchBefore(/[\w]*/);
  if (!word || (word.from === word.to && !context.explicit && !/[{,(]\s*$/.test(before))) return null;
  if (before.lastIndexOf("{") > before.lastIndexOf("}")) {
    return { from: word.from, options: (await loki.labelNames()).map((label) => ({ label, type: "property", apply: `${label}="` })) };
  }
  return { from: word.from, options: LOG_WORDS.map((label) => ({ label, type: "keyword" })) };
}

const TRACE_WORDS = ["duration", "name", "status", "kind", "rootName", "rootServiceName", "traceDuration", "nestedSetParent", "rate()", "count_over_time()", "quantile_over_time(duration, .95)", "histogram_over_time(duration)", "select()", "by()"];

async function completeTraces(context: CompletionContext): Promise<CompletionResult | null> {
  const before = context.state.sliceDoc(0, context.pos);
  const value = /([\w.:"-]+)\s*(?:=~|!~|!=|=)\s*("?)([^"\s}]*)$/.exec(before);
  if (value) {
    const found = await tempo.tagValues(value[1] ?? "", range()).catch(() => []);
    const open = value[2] === '"';
    const bare = ["status", "kind"].includes(value[1] ?? "");
    return { from: context.pos - (value[3] ?? "").length, options: found.map((label) => ({ label, type: "text", apply: open || bare ? label : JSON.stringify(label) })) };
  }
  const word = context.matchBefore(/[\w.]*/);
  if (!word || (word.from === word.to && !context.explicit && !/[{&|(]\s*$/.test(before))) return null;
  const scopes = await tempo.tags(range());
  const options = scopes.flatMap((s) => (s.name === "intrinsic" ? [] : s.tags.map((tag) => ({ label: tempo.attribute(s.name, tag), type: "property" }))));
  return { from: word.from, options: [...options, ...TRACE_WORDS.map((label) => ({ label, type: "keyword" }))] };
}

/** An editor in `place`. */
export async function loadLanguage(which: Language): Promise<Extension> {
  return language(which);
}

export function edit(place: HTMLElement, options: EditorOptions): Editor {
  const root = place.shadowRoot ?? place.attachShadow({ mode: "open", delegatesFocus: true });
  root.replaceChildren();
  const inside = document.createElement("div");
  root.append(inside);
  const run = keymap.of([{ key: "Enter", run: (view) => (options.run(view.state.doc.toString()), true) }]);
  const extensions = (more: Extension): Extension[] => [
    // Enter takes a completion where one is open (it comes first there), else it asks; Shift-Enter begins a line.
    Prec.highest(keymap.of(completionKeymap)),
    Prec.high(run),
    keymap.of([{ key: "Escape", run: (view) => (view.contentDOM.blur(), true) }, ...closeBracketsKeymap, ...historyKeymap, ...defaultKeymap]),
    history(),
    closeBrackets(),
    bracketMatching(),
    EditorView.lineWrapping,
    EditorView.contentAttributes.of({ "aria-label": options.label, spellcheck: "false" }),
    placeholderText(options.placeholder),
    syntaxHighlighting(colours),
    look,
    more,
    EditorView.updateListener.of((u) => {
      if (u.docChanged) options.change(u.state.doc.toString());
    }),
  ];
  const view = new EditorView({ state: EditorState.create({ doc: options.text, extensions: extensions([]) }), parent: inside, root });
  // The cursor stands where a person would go on typing.
  view.dispatch({ selection: { anchor: options.text.length } });
  language(options.language).then((more) => {
    const { doc, selection } = view.state;
    view.setState(EditorState.create({ doc, selection, extensions: extensions(more) }));
  }, () => {});
  return {
    set: (text) => {
      if (text !== view.state.doc.toString()) view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } });
    },
    focus: () => view.focus(),
    destroy: () => view.destroy(),
  };
}
