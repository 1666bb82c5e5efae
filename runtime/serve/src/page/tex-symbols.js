// TeX commands that stand for a character, a name, an alphabet or a pair of delimiters.
//
// In: nothing. Out: tables for tex.js. Invariant: a command has one meaning, in one table.

/** A table of "name character" pairs. */
const pairs = (list) => new Map(list.trim().split(/\s+/).map((pair) => pair.split("=")).map(([name, ...c]) => [name, c.join("=")]));

/** Greek letters and other symbols that are operands. */
export const LETTERS = pairs(`
  alpha=α beta=β gamma=γ delta=δ epsilon=ϵ varepsilon=ε zeta=ζ eta=η theta=θ vartheta=ϑ iota=ι kappa=κ varkappa=ϰ lambda=λ
  mu=μ nu=ν xi=ξ omicron=ο pi=π varpi=ϖ rho=ρ varrho=ϱ sigma=σ varsigma=ς tau=τ upsilon=υ phi=ϕ varphi=φ chi=χ psi=ψ
  omega=ω Gamma=Γ Delta=Δ Theta=Θ Lambda=Λ Xi=Ξ Pi=Π Sigma=Σ Upsilon=Υ Phi=Φ Psi=Ψ Omega=Ω digamma=ϝ
  infty=∞ partial=∂ nabla=∇ hbar=ℏ hslash=ℏ ell=ℓ wp=℘ Re=ℜ Im=ℑ aleph=ℵ beth=ℶ emptyset=∅ varnothing=∅ imath=ı jmath=ȷ
  angle=∠ measuredangle=∡ triangle=△ square=□ Box=□ blacksquare=■ qed=∎ degree=° prime=′ backprime=‵ top=⊤ bot=⊥ perp=⊥
  ldots=… dots=… dotsc=… dotso=… cdots=⋯ dotsb=⋯ dotsm=⋯ dotsi=⋯ vdots=⋮ ddots=⋱ checkmark=✓ dagger=† ddagger=‡ copyright=© pounds=£ S=§ P=¶
  forall=∀ exists=∃ nexists=∄ complement=∁ flat=♭ sharp=♯ natural=♮ clubsuit=♣ diamondsuit=♢ heartsuit=♡ spadesuit=♠
  eth=ð mho=℧ Finv=Ⅎ bigstar=★ lozenge=◊ surd=√ AA=Å O=Ø o=ø ss=ß euro=€ yen=¥ N=ℕ R=ℝ Z=ℤ Q=ℚ
`);

/** Operators and relations. */
export const OPERATORS = pairs(`
  pm=± mp=∓ times=× div=÷ cdot=⋅ ast=∗ star=⋆ circ=∘ bullet=∙ oplus=⊕ ominus=⊖ otimes=⊗ oslash=⊘ odot=⊙ cap=∩ cup=∪ sqcap=⊓
  sqcup=⊔ uplus=⊎ wedge=∧ land=∧ vee=∨ lor=∨ neg=¬ lnot=¬ setminus=∖ smallsetminus=∖ wr=≀ amalg=⨿ bowtie=⋈ diamond=⋄ ltimes=⋉
  rtimes=⋊ boxplus=⊞ boxtimes=⊠ barwedge=⊼ dotplus=∔
  leq=≤ le=≤ geq=≥ ge=≥ leqslant=⩽ geqslant=⩾ neq=≠ ne=≠ equiv=≡ approx=≈ approxeq=≊ sim=∼ simeq=≃ cong=≅ propto=∝ varpropto=∝ ll=≪ gg=≫ lll=⋘
  ggg=⋙ prec=≺ succ=≻ preceq=⪯ succeq=⪰ subset=⊂ supset=⊃ subseteq=⊆ supseteq=⊇ subsetneq=⊊ supsetneq=⊋ sqsubseteq=⊑
  sqsupseteq=⊒ in=∈ ni=∋ owns=∋ notin=∉ mid=∣ nmid=∤ parallel=∥ nparallel=∦ vdash=⊢ dashv=⊣ models=⊨ vDash=⊨ doteq=≐ triangleq=≜
  asymp=≍ lesssim=≲ gtrsim=≳ lessgtr=≶ nless=≮ ngtr=≯ nleq=≰ ngeq=≱ therefore=∴ because=∵ coloneqq=≔ eqqcolon=≕ colon=: coloneq=≔ between=≬
  to=→ gets=← leftarrow=← rightarrow=→ uparrow=↑ downarrow=↓ updownarrow=↕ leftrightarrow=↔ Leftarrow=⇐ Rightarrow=⇒
  Uparrow=⇑ Downarrow=⇓ Leftrightarrow=⇔ iff=⟺ implies=⟹ impliedby=⟸ longleftarrow=⟵ longrightarrow=⟶ Longleftarrow=⟸
  Longrightarrow=⟹ longleftrightarrow=⟷ Longleftrightarrow=⟺ mapsto=↦ longmapsto=⟼ hookleftarrow=↩ hookrightarrow=↪
  nearrow=↗ searrow=↘ swarrow=↙ nwarrow=↖ rightharpoonup=⇀ rightharpoondown=⇁ leftharpoonup=↼ leftharpoondown=↽
  rightleftharpoons=⇌ leftrightharpoons=⇋ rightleftarrows=⇄ leftrightarrows=⇆ leadsto=⇝ rightsquigarrow=⇝ nrightarrow=↛ nRightarrow=⇏ upharpoonright=↾ twoheadrightarrow=↠
  lbrace={ rbrace=} lbrack=[ rbrack=] vert=| Vert=‖ lvert=| rvert=| lVert=‖ rVert=‖ langle=⟨ rangle=⟩ lceil=⌈ rceil=⌉ lfloor=⌊
  rfloor=⌋ lgroup=⟮ rgroup=⟯ backslash=\\ ulcorner=⌜ urcorner=⌝ llbracket=⟦ rrbracket=⟧ lt=< gt=>
`);

/** Large operators, whose limits stand above and below them in displayed formulas, or (integrals) beside them. */
export const LARGE = pairs(`
  sum=∑ prod=∏ coprod=∐ bigcup=⋃ bigcap=⋂ bigsqcup=⨆ bigvee=⋁ bigwedge=⋀ bigoplus=⨁ bigotimes=⨂ bigodot=⨀ biguplus=⨄
  int=∫ iint=∬ iiint=∭ oint=∮ oiint=∯ smallint=∫
`);
export const isIntegral = (c) => "∫∬∭∮∯".includes(c);

/** Functions with upright names; those of the second list have limits below them in displayed formulas. */
export const FUNCTIONS = new Set(`arccos arcsin arctan arg cos cosh cot coth csc deg dim exp hom ker lg ln log sec sin sinh tan tanh
  arcsec arccsc arccot sech csch tg ctg`.split(/\s+/));
export const LIMITS = new Map(`det gcd inf lim max min Pr sup argmax argmin lcm liminf limsup injlim projlim`.split(/\s+/).map((f) => [f, f]));
LIMITS.set("liminf", "lim inf").set("limsup", "lim sup").set("argmax", "arg max").set("argmin", "arg min");

/** Accents above a formula; the second list stretches over all of it. */
export const ACCENTS = pairs(`hat=^ bar=¯ vec=→ dot=˙ ddot=¨ dddot=⃛ tilde=~ check=ˇ breve=˘ acute=´ grave=\` mathring=˚`);
export const WIDE = pairs(`widehat=^ widetilde=~ overline=¯ overrightarrow=→ overleftarrow=← overleftrightarrow=↔ overbrace=⏞ overparen=⏜`);
export const UNDER = pairs(`underline=_ underbrace=⏟ underrightarrow=→ underleftarrow=← underparen=⏝`);

/** Widths in em. */
export const SPACES = new Map(Object.entries({
  ",": 0.167, ":": 0.222, ">": 0.222, ";": 0.278, "!": -0.167, " ": 0.25, quad: 1, qquad: 2, enspace: 0.5, thinspace: 0.167, medspace: 0.222,
  thickspace: 0.278, enskip: 0.5, negthinspace: -0.167, nobreakspace: 0.25, space: 0.25,
}));

/** Commands without a trace in the formula; those of the second list have an argument that goes with them. */
export const SILENT = new Set(`displaystyle textstyle scriptstyle scriptscriptstyle limits nolimits nonumber notag hline hfill centering
  allowbreak relax mathstrut strut normalsize small large Large rm bf it big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr bigm Bigm biggm Biggm
  mathopen mathclose mathord mathbin mathrel mathpunct mathinner boldmath`.split(/\s+/));
export const SILENT_WITH_ARGUMENT = new Set(["label", "color", "vspace", "hspace", "phantom", "vphantom", "hphantom"]);

/** First characters of the alphabets of Unicode: of capitals, small letters and digits; and those that stand elsewhere. */
const alphabet = (capital, small, digit, exceptions = "") => ({ capital, small, digit, exceptions: new Map([...exceptions].flatMap((c, i, all) => (i % 2 ? [] : [[c, all[i + 1]]]))) });
const BOLD = alphabet(0x1d400, 0x1d41a, 0x1d7ce);
const BOLD_ITALIC = alphabet(0x1d468, 0x1d482, 0x1d7ce);
const SCRIPT = alphabet(0x1d49c, 0x1d4b6, 0, "BℬEℰFℱHℋIℐLℒMℳRℛeℯgℊoℴ");
export const ALPHABETS = {
  mathbb: alphabet(0x1d538, 0x1d552, 0x1d7d8, "CℂHℍNℕPℙQℚRℝZℤ"), Bbb: alphabet(0x1d538, 0x1d552, 0x1d7d8, "CℂHℍNℕPℙQℚRℝZℤ"),
  mathbf: BOLD, boldsymbol: BOLD_ITALIC, bm: BOLD_ITALIC, pmb: BOLD_ITALIC, mathcal: SCRIPT, mathscr: SCRIPT, cal: SCRIPT,
  mathfrak: alphabet(0x1d504, 0x1d51e, 0, "CℭHℌIℑRℜZℨ"), mathsf: alphabet(0x1d5a0, 0x1d5ba, 0x1d7e2), mathtt: alphabet(0x1d670, 0x1d68a, 0x1d7f6),
};

/** A text in an alphabet; characters that the alphabet lacks stay. */
export function inAlphabet(source, { capital, small, digit, exceptions }) {
  return [...source].map((c) => {
    const shifted = (first, base) => String.fromCodePoint(base + c.codePointAt(0) - first.codePointAt(0));
    if (exceptions.has(c)) return exceptions.get(c);
    if (/[A-Z]/.test(c)) return shifted("A", capital);
    if (/[a-z]/.test(c)) return shifted("a", small);
    if (/[0-9]/.test(c) && digit) return shifted("0", digit);
    if (/[Α-Ω]/.test(c) && capital === BOLD.capital) return shifted("Α", 0x1d6a8);
    if (/[Α-Ω]/.test(c) && capital === BOLD_ITALIC.capital) return shifted("Α", 0x1d71c);
    if (/[α-ω]/.test(c) && capital === BOLD.capital) return shifted("α", 0x1d6c2);
    if (/[α-ω]/.test(c) && capital === BOLD_ITALIC.capital) return shifted("α", 0x1d736);
    return c;
  }).join("");
}

/** What environments put around their rows, and how columns are aligned. */
export const ENVIRONMENTS = {
  matrix: ["", ""], smallmatrix: ["", ""], pmatrix: ["(", ")"], bmatrix: ["[", "]"], Bmatrix: ["{", "}"], vmatrix: ["|", "|"], Vmatrix: ["‖", "‖"],
  cases: ["{", "", "left"], dcases: ["{", "", "left"], rcases: ["", "}", "left"], array: ["", ""], subarray: ["", ""],
  aligned: ["", "", "pairs"], align: ["", "", "pairs"], alignat: ["", "", "pairs"], alignedat: ["", "", "pairs"], split: ["", "", "pairs"], eqnarray: ["", "", "pairs"], flalign: ["", "", "pairs"],
  gathered: ["", ""], gather: ["", ""], equation: ["", ""], multline: ["", ""], displaymath: ["", ""], math: ["", ""],
};
