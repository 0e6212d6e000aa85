/** Announces what people write; communications are inserted once, so nothing is counted; see SharedRecords. */
trigger EmailMessageSync on EmailMessage (after insert, after delete, after undelete) {
    SharedRecords.handle();
}
