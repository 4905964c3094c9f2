// Every word of the page, in both languages.

const WORDS = {
  tagline: ["Ask your own documents", "向自己的文档提问"],
  spaces: ["Spaces", "知识库"],
  newSpace: ["New space", "新建知识库"],
  spaceName: ["Name of the new space", "新知识库的名称"],
  create: ["Create", "创建"],
  documentsIn: ["{n} documents", "{n} 个文档"],
  noSpaces: ["Make a space, drop in some documents, and ask.", "先建一个知识库，放入文档，然后提问。"],
  ask: ["Ask", "提问"],
  documents: ["Documents", "文档"],
  search: ["Search", "检索"],
  askPlaceholder: ["What would you like to know?", "想知道什么？"],
  stop: ["Stop", "停止"],
  send: ["Ask", "提问"],
  forget: ["Forget this conversation", "忘记这段对话"],
  you: ["You", "你"],
  answer: ["Answer", "回答"],
  thinking: ["Reading…", "正在查阅…"],
  stopped: ["Stopped.", "已停止。"],
  references: ["References", "出处"],
  reference: ["Reference {n}: {name}", "出处 {n}：{name}"],
  passage: ["Passage", "原文"],
  close: ["Close", "关闭"],
  score: ["Score", "得分"],
  dense: ["Meaning", "语义"],
  lexical: ["Words", "词语"],
  sentence: ["Sentence", "句子"],
  rerank: ["Rerank", "重排"],
  characters: ["characters {start}–{end} of {total}", "第 {start}–{end} 字符，共 {total}"],
  before: ["Show what comes before", "显示前文"],
  after: ["Show what follows", "显示后文"],
  drop: ["Drop files here, or", "把文件拖到这里，或"],
  choose: ["choose files", "选择文件"],
  noDocuments: ["Nothing here yet.", "这里还没有文档。"],
  name: ["Name", "名称"],
  status: ["Status", "状态"],
  chunks: ["Passages", "段落"],
  remove: ["Delete", "删除"],
  removeIt: ["Delete “{name}”?", "删除“{name}”？"],
  replace: ["Replace", "替换"],
  retry: ["Try again", "重试"],
  SENDING: ["Sending…", "正在上传…"],
  TODO: ["Waiting", "等待中"],
  RUNNING: ["Indexing…", "正在索引…"],
  FINISHED: ["Ready", "就绪"],
  FAILED: ["Failed", "失败"],
  more: ["Show more", "显示更多"],
  searchPlaceholder: ["Words or a question", "词语或问题"],
  nothing: ["No passage was found.", "没有找到相关段落。"],
  keyTitle: ["This server asks for a key", "此服务器需要密钥"],
  keyLabel: ["API key", "API 密钥"],
  keyHint: ["It is kept in this tab only and forgotten when the tab is closed.", "密钥只保存在此标签页中，关闭即忘。"],
  keyUse: ["Use this key", "使用此密钥"],
  keyRefused: ["The server does not take the key: {why}", "服务器不接受此密钥：{why}"],
  unreachable: ["The server cannot be reached. Is it running?", "无法连接服务器。它在运行吗？"],
  cut: ["The answer was cut off before its end. What came is kept above; ask again.", "回答在结束前中断。已收到的内容保留在上方；请重新提问。"],
  unsupported: ["This server does not offer that yet.", "此服务器尚不支持该功能。"],
  failed: ["That did not work: {why}", "未成功：{why}"],
  theme: ["Light or dark", "浅色或深色"],
  language: ["中文", "English"],
  skip: ["Skip to the content", "跳到内容"],
};

const LANGUAGE = "kbchat.language";

export const language = {
  get: () => localStorage.getItem(LANGUAGE) ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en"),
  set: (value) => localStorage.setItem(LANGUAGE, value),
};

export function t(name, values = {}) {
  const text = WORDS[name][language.get() === "zh" ? 1 : 0];
  return text.replace(/\{(\w+)\}/g, (_, key) => String(values[key]));
}

/** What to tell a person about a failure. */
export function explain(error) {
  if (error.code === "unreachable") return t("unreachable");
  if (error.code === "cut") return t("cut");
  if (error.code === "route_not_found" || error.status === 405) return t("unsupported");
  return t("failed", { why: error.message });
}
