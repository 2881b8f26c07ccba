// What a shared library says of itself in its file: a note, as ELF has them, which read_shared_object reads
// (runtime/base/shared_object.h). A library has one at most.
#pragma once

#define DDP_NOTE_OWNER "ddp-launch"

// To be written once, outside of functions; `text` is a literal.
#define DDP_MODULE_NOTE(text)                  \
  asm(".pushsection .note.ddp, \"a\", @note\n" \
      ".balign 4\n"                            \
      ".long 2f - 1f, 4f - 3f, 1\n"            \
      "1: .asciz \"" DDP_NOTE_OWNER            \
      "\"\n"                                   \
      "2: .balign 4\n"                         \
      "3: .asciz \"" text                      \
      "\"\n"                                   \
      "4: .balign 4\n"                         \
      ".popsection\n")
