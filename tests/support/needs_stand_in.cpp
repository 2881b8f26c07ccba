extern "C" const char* stand_in();
extern "C" const char* needs_stand_in() { return stand_in(); }
