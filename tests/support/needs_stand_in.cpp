#include "runtime/base/module_note.h"

DDP_MODULE_NOTE("nothing for sm_00");

extern "C" const char* stand_in();
extern "C" const char* needs_stand_in() { return stand_in(); }
