"""The frame of the report's HTML page: style, script and a few elements.

Everything is inline and nothing is fetched; the page forbids itself to do so.
What an element is given as text is escaped here; `html` arguments are not.
"""

from __future__ import annotations

import base64
import hashlib
import html as html_lib
import pathlib
from collections.abc import Sequence

_STYLE = """
:root{--ink:#1b1f24;--muted:#5b6470;--line:#e1e5ea;--accent:#1858a0;
--wash:#f5f7f9;--good:#1858a0;--bad:#b04a05}
*{box-sizing:border-box}
html{scroll-behavior:smooth}
body{margin:0;background:var(--wash);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",
"DejaVu Sans",sans-serif}
main{max-width:1120px;margin:0 auto;padding:36px 24px 80px}
h1{font-size:32px;line-height:1.2;margin:0 0 6px;letter-spacing:-.02em}
h2{font-size:21px;margin:0 0 4px;letter-spacing:-.01em}
p{margin:8px 0;max-width:78ch}
.lead,.legend,.note{color:var(--muted)}
.meta{color:var(--muted);font-size:14px;margin:0 0 22px;max-width:none}
.meta span{white-space:nowrap}.meta span+span::before{content:"· "}
nav{display:flex;flex-wrap:wrap;gap:6px 18px;margin:0 0 20px;font-size:15px}
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
section{background:#fff;border:1px solid var(--line);border-radius:12px;
padding:22px 26px;margin:0 0 20px}
.cards{display:grid;gap:14px;margin:0 0 20px;
grid-template-columns:repeat(auto-fit,minmax(215px,1fr))}
.card{background:#fff;border:1px solid var(--line);border-radius:12px;
padding:16px 20px}
.card .label{color:var(--muted);font-size:14px}
.card .figure{font-size:27px;font-weight:650;letter-spacing:-.02em;
white-space:nowrap;line-height:1.25}
.card .detail{font-size:13.5px;color:var(--muted)}
.figures{display:grid;gap:18px;margin:14px 0 4px;
grid-template-columns:repeat(auto-fit,minmax(400px,1fr))}
figure{margin:0}figure img{width:100%;height:auto;display:block}
figcaption{font-size:13.5px;color:var(--muted);margin-top:4px}
.scroll{overflow-x:auto;margin:12px 0 4px}
table{border-collapse:collapse;width:100%;font-size:14.5px;
font-variant-numeric:tabular-nums}
th{text-align:left;font-weight:600;color:var(--muted);font-size:13px;
border-bottom:2px solid var(--line);padding:6px 8px;vertical-align:bottom}
td{border-bottom:1px solid var(--line);padding:6px 8px;vertical-align:top}
th.n,td.n{text-align:right;white-space:nowrap}
td small{color:var(--muted)}
tr:last-child td{border-bottom:0}
td:first-child{min-width:110px}
tr.rule td{border-top:2px solid var(--line)}
ul.claims{list-style:none;margin:12px 0 0;padding:0}
ul.claims li{display:flex;gap:14px;align-items:baseline;padding:7px 0;
border-bottom:1px solid var(--line)}
ul.claims li:last-child{border-bottom:0}
ul.claims .badge{flex:0 0 108px;text-align:center}
.badge{font-size:12.5px;border-radius:999px;padding:1px 9px;
white-space:nowrap;border:1px solid var(--line);color:var(--muted);
background:#fff}
.badge.holds,.badge.right{color:#fff;background:var(--good);
border-color:var(--good)}
.badge.reversed,.badge.wrong{color:#fff;background:var(--bad);
border-color:var(--bad)}
.badge.chosen{color:var(--ink);border-color:var(--ink);font-weight:600}
.badge.pruned{border-style:dashed}
code,.thought{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,
"DejaVu Sans Mono",monospace;font-size:13.5px}
details.tree{border:1px solid var(--line);border-radius:10px;
padding:10px 16px;margin:12px 0}
details.tree>summary{cursor:pointer;display:flex;flex-wrap:wrap;gap:2px 14px;
align-items:baseline}
details.tree>summary::before{content:"▸";color:var(--muted)}
details.tree[open]>summary::before{content:"▾"}
.mapbox{overflow-x:auto;margin:12px 0 0;padding:4px 0;text-align:center}
svg.map{max-width:100%;height:auto}
.edge{fill:none;stroke:#6b7684;stroke-width:1.2}
.edge.pruned{stroke:#bcc4cd;stroke-dasharray:3 3}
.edge.chosen{stroke:var(--ink);stroke-width:3.6}
.disc{stroke:#3b434d;stroke-width:1}
.disc.pruned{fill-opacity:.55;stroke-dasharray:2 2}
.disc.chosen{stroke:var(--ink);stroke-width:3}
svg a:hover .disc{stroke-width:4}
.mark{font-size:10px;text-anchor:middle;font-variant-numeric:tabular-nums}
.legend{font-size:13px;max-width:none}
.scale{display:inline-block;width:110px;height:10px;border-radius:5px;
border:1px solid var(--line);vertical-align:-1px}
.folds{display:flex;gap:8px}
button{font:inherit;font-size:13.5px;padding:3px 12px;border-radius:8px;
border:1px solid var(--line);background:var(--wash);color:var(--ink);
cursor:pointer}button:hover{border-color:var(--muted)}
.outline{overflow-x:auto;font-size:14px}
.node{margin-left:6px;padding-left:9px;border-left:1.5px solid var(--line)}
.outline>.node{margin-left:0;padding-left:0;border-left:0}
.node.path{border-left-color:var(--ink)}
.heads,.node>summary,div.node{display:flex;align-items:baseline;gap:9px;
padding-top:1px;padding-bottom:1px}
.heads{color:var(--muted);font-size:12.5px;border-bottom:1px solid var(--line);
padding-left:16px;position:sticky;top:0;background:#fff}
.node .badge{line-height:1.4}
.sign{flex:0 0 12px;text-align:center;color:var(--muted)}
.heads .score,.heads .thought{border:0;font:inherit}
summary{cursor:pointer;list-style:none}
summary::-webkit-details-marker{display:none}
details.node>summary::before{content:"▸";color:var(--muted);width:7px}
details.node[open]>summary::before{content:"▾"}
div.node{padding-left:25px}
.node:hover>.cells,summary:hover>.cells{color:var(--ink)}
.node .thought{flex:1 1 0;min-width:22ch;overflow-wrap:anywhere}
.heads .thought{flex:1 1 0}
.node.path>summary>.thought,div.node.path>.thought{font-weight:650}
.node.off>.thought,.node.rest>summary{color:var(--muted)}
.score{flex:0 0 42px;text-align:center;border-radius:6px;
border:1px solid #00000022;font-size:12.5px;
font-variant-numeric:tabular-nums}
.cells{flex:none;color:var(--muted);font-size:13px;
font-variant-numeric:tabular-nums}
.cells i{display:inline-block;width:48px;text-align:right;font-style:normal}
.stats{color:var(--muted);font-size:13px;margin-left:10px}
:target{background:#fff3c4;scroll-margin-top:30vh}
@media print{body{background:#fff}section,.card{break-inside:avoid}
nav,.folds{display:none}}
"""

# Clicking a disc unfolds the outline down to its line; buttons fold a tree.
_SCRIPT = """
function reveal(){
  const node=document.getElementById(location.hash.slice(1));
  for(let e=node;e;e=e.parentElement)if(e.tagName==="DETAILS")e.open=true;
  if(node)node.scrollIntoView({block:"center"});
}
addEventListener("hashchange",reveal);reveal();
for(const button of document.querySelectorAll("button[data-fold]"))
  button.addEventListener("click",()=>{
    const how=button.dataset.fold;
    const tree=button.closest("details.tree");
    for(const e of tree.querySelectorAll("details.node"))
      e.open=how==="all"||(how==="path"&&e.classList.contains("path"));
  });
"""


def document(title: str, html: str) -> str:
  """Returns the whole page around the `html` of its body."""
  digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
  # Only this one script may run: a thought that smuggles in another cannot.
  policy = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    f"script-src 'sha256-{digest}'"
  )
  return (
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
    f"<body><main>{html}</main><script>{_SCRIPT}</script></body></html>\n"
  )


def escape(text: object) -> str:
  """Returns text that stands for itself in HTML, in attributes too."""
  return html_lib.escape(str(text))


def section(identity: str, heading: str, lead: str, html: str) -> str:
  """Returns one section with a heading and a sentence on how to read it."""
  return (
    f'<section id="{escape(identity)}"><h2>{escape(heading)}</h2>'
    f'<p class="lead">{escape(lead)}</p>{html}</section>'
  )


def card(label: str, figure: str, detail: str) -> str:
  """Returns one headline number."""
  return (
    f'<div class="card"><div class="label">{escape(label)}</div>'
    f'<div class="figure">{escape(figure)}</div>'
    f'<div class="detail">{escape(detail)}</div></div>'
  )


def image(path: pathlib.Path, caption: str) -> str:
  """Returns a PNG, carried inside the page."""
  data = base64.b64encode(path.read_bytes()).decode()
  return (
    f'<figure><img alt="{escape(caption)}" '
    f'src="data:image/png;base64,{data}">'
    f"<figcaption>{escape(caption)}</figcaption></figure>"
  )


def table(
  head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1
) -> str:
  """Returns a table; a row starts with `texts` words and goes on in numbers.

  A thicker line stands where the first column changes after an empty cell.
  """
  kind = ["" if i < texts else ' class="n"' for i in range(len(head))]
  heads = "".join(
    f"<th{k}>{escape(cell)}</th>" for k, cell in zip(kind, head, strict=True)
  )
  body = []
  for i, row in enumerate(rows):
    rule = ' class="rule"' if i and row[0] and not rows[i - 1][0] else ""
    cells = "".join(
      f"<td{k}>{escape(cell)}</td>" for k, cell in zip(kind, row, strict=True)
    )
    body.append(f"<tr{rule}>{cells}</tr>")
  return (
    f'<div class="scroll"><table><thead><tr>{heads}</tr></thead>'
    f"<tbody>{''.join(body)}</tbody></table></div>"
  )
