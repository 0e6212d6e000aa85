/** Counts, stamps and announces what people change; see SharedRecords. */
trigger CaseSync on Case (before insert, before update, after insert, after update, after delete, after undelete) {
    SharedRecords.handle();
}
