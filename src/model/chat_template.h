/* chat_template.h - how messages are put to a model that is, or was, trained on conversations: named templates, each a
 * renderer of its own.
 *
 * A model folder says its template as a program in the Jinja language.  That is not run: it is compared, byte for byte,
 * with the texts that are known here, and any other one is refused with what to do (name a template that fits).  Those
 * of vicuna, smolvlm and smollm2 were compared with published files; those of the others are as we know them, so that a
 * folder's may differ by a byte and has to be named; that of qwen2.5 always has.  Control tokens of a template are
 * parts of kind MM1_PART_TOKEN; what a user writes stays text, so that no message can end its turn or begin another's.
 *
 * Threads: all functions are thread-safe. */
#ifndef MM1_MODEL_CHAT_TEMPLATE_H
#define MM1_MODEL_CHAT_TEMPLATE_H

#include "model/document.h"

typedef enum mm1_chat_template {
    MM1_CHAT_AUTO,   /* none is said: that of the model */
    MM1_CHAT_PLAIN,  /* <bos>User: message\nAssistant: answer<eos>User: ...     ours: needs no special tokens */
    MM1_CHAT_VICUNA, /* <bos>USER: message ASSISTANT:                                   LLaVA-1.5, Vicuna 1.1 */
    MM1_CHAT_INST,   /* <bos>[INST] message [/INST]                                     LLaMA 2, Mistral, LLaVA-NeXT */
    MM1_CHAT_CHATML, /* <|im_start|>user\n message <|im_end|>\n<|im_start|>assistant\n  Qwen, LLaVA-NeXT */
    MM1_CHAT_IDEFICS3, /* <|begin_of_text|>User: message <end_of_utterance>\nAssistant: */
    MM1_CHAT_SMOLVLM,  /* the same behind <|im_start|> */
    MM1_CHAT_LLAMA3,   /* <|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n message <|eot_id|>... */
    MM1_CHAT_SMOLLM2,  /* chatml behind a system's message of its own, unless there is one; no pictures */
    MM1_CHAT_QWEN2,    /* the same with other words */
    MM1_CHAT_QWEN25,   /* and others */
    MM1_CHAT_COUNT
} mm1_chat_template; /* <bos>: that of the tokenizer, if it has one; the others say what they begin with */

/* "auto", "plain", "vicuna", "inst", "chatml", "idefics3", "smolvlm", "llama-3", "smollm2", "qwen2",
 * "qwen2.5"; ended by NULL. */
extern const char *const mm1_chat_template_names[];
/* The same for people, without "auto". */
#define MM1_CHAT_TEMPLATES "plain, vicuna, inst, chatml, idefics3, smolvlm, llama-3, smollm2, qwen2 and qwen2.5"

typedef enum mm1_chat_role { MM1_CHAT_SYSTEM, MM1_CHAT_USER, MM1_CHAT_ASSISTANT } mm1_chat_role;

/* One message of a conversation: texts, and pictures if it is a user's. */
typedef struct mm1_chat_turn {
    mm1_chat_role role;
    mm1_document message;
} mm1_chat_turn;

/* MM1_E_ARG names those that are known; "auto" is none. */
MM1_NODISCARD mm1_status mm1_chat_template_find(const char *name, mm1_chat_template *out, mm1_error *err);
/* That of a model folder: its name as "chat_template" in generation_config.json, which our own folders have, or the
 * text in chat_template.jinja, chat_template.json or tokenizer_config.json; or the text in a GGUF file.
 * MM1_E_UNSUPPORTED for one that is not
 * known, MM1_E_FORMAT for a folder without one; both say what to do. */
MM1_NODISCARD mm1_status mm1_chat_template_of(const char *dir, mm1_chat_template *out, mm1_error *err);
/* The same, but MM1_CHAT_AUTO for a folder without one. */
MM1_NODISCARD mm1_status mm1_chat_template_in(const char *dir, mm1_chat_template *out, mm1_error *err);

/* The special token with which the model ends its turn; NULL: what ends a text by the tokenizer's roles. */
const char *mm1_chat_end_token(mm1_chat_template t);
/* Whether the answer stands behind a blank, which is no part of what the model has to say. */
bool mm1_chat_answer_has_blank(mm1_chat_template t);

/* A conversation: a system's message or none, then those of a user and of the assistant by turns.  If the last one is a
 * user's, it is the prompt for the answer to it.  Else it is a document to learn from: every answer is trained on, with
 * the token that ends it, and nothing else; it is closed (document.h).  out is empty before.  MM1_E_FORMAT for roles in
 * another order, an empty answer, or a picture that is no user's; MM1_E_UNSUPPORTED for pictures or a system's message
 * in a template that has no place for them. */
MM1_NODISCARD mm1_status mm1_chat_render_turns(mm1_chat_template t, const mm1_chat_turn *turns, size_t n,
                                               mm1_document *out, mm1_error *err);
/* The prompt for one message of a user, texts and images, up to where the answer begins.  prompt is empty before.
 * MM1_E_UNSUPPORTED for images in a template that has no place for them. */
MM1_NODISCARD mm1_status mm1_chat_render(mm1_chat_template t, const mm1_document *message, mm1_document *prompt,
                                         mm1_error *err);

#endif
